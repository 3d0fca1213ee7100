"""One run as one HTML page: plain Python that writes markup, and small SVG charts."""
