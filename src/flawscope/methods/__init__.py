"""One file per method. Importing this package registers them all; fitting imports what it needs."""

from flawscope.methods import cnn as cnn
from flawscope.methods import dfm as dfm
from flawscope.methods import dinomaly as dinomaly
from flawscope.methods import draem as draem
from flawscope.methods import efficientad as efficientad
from flawscope.methods import fastflow as fastflow
from flawscope.methods import finetune as finetune
from flawscope.methods import ifm as ifm
from flawscope.methods import joined as joined
from flawscope.methods import linear as linear
from flawscope.methods import padim as padim
from flawscope.methods import patchcore as patchcore
from flawscope.methods import reverse_distillation as reverse_distillation
from flawscope.methods import stfpm as stfpm
from flawscope.methods import supersimplenet as supersimplenet
from flawscope.methods import svm as svm
