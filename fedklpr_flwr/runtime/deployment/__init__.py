"""What real boxes need before a federation can run on them: names, keys, certificates, scripts."""
