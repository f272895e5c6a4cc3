"""One file per method. Importing this package registers them all; fitting imports what it needs."""

from flawscope.methods import dfm as dfm
from flawscope.methods import padim as padim
from flawscope.methods import patchcore as patchcore
from flawscope.methods import stfpm as stfpm
from flawscope.methods import supersimplenet as supersimplenet
