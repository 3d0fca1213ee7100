"""A deployment's parts as containers: what `fedklpr deploy init --containers` writes beside them.

requirements.lock and build.lock hold every package but torch and torchvision to its hashes; they
are made from constraints.txt, and docs/deployment.md has the command.
"""
