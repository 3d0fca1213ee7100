"""One file a command; __main__ joins them."""

import os
import sys

# Before anything loads torch: without a current folder its libraries end the process themselves.
try:
    os.getcwd()
except FileNotFoundError:
    sys.exit("fedklpr: the current folder has been deleted; cd to one that is there and try again")
