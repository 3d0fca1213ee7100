"""Real boxes: sites file, certificates, scripts, registering."""
