"""Why a part was judged as it was: explainers by name, their maps on one absolute scale."""

from flawscope.runtime.explain import anomaly as anomaly
from flawscope.runtime.explain import closed as closed
from flawscope.runtime.explain import ifm as ifm
from flawscope.runtime.explain import occlusion as occlusion
from flawscope.runtime.explain.contract import Explainer as Explainer
from flawscope.runtime.explain.contract import Known as Known
from flawscope.runtime.explain.contract import Shown as Shown
from flawscope.runtime.explain.contract import explainer as explainer
from flawscope.runtime.explain.contract import explainers as explainers
from flawscope.runtime.explain.maps import Explained as Explained
from flawscope.runtime.explain.maps import Explaining as Explaining
from flawscope.runtime.explain.maps import Mapped as Mapped
from flawscope.runtime.explain.nearest import with_nearest as with_nearest
