"""One file per method. Importing this package registers them all; fitting imports what it needs."""

from flawscope.methods import patchcore as patchcore
