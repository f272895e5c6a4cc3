"""Splits into FIT, CALIBRATE, SELECT and TEST by part and group: balanced, seeded, digested.

Photographs that share a part, a group or their content hang together, directly or through others, and go to
one role as a whole. They are dealt out largest first, each to the role that lacks most of what it holds, by
product and label (after iterative stratification: Sechidis, Tsoumakas and Vlahavas 2011).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from flawscope.core import digest
from flawscope.core.errors import DataError, LeakError, UsageError
from flawscope.core.rng import derive
from flawscope.core.types import GOOD, Role, Sample

_Stratum = tuple[str, str]  # product and label


@dataclass(frozen=True)
class SplitPlan:
    """Shares of the images that teach, select and test (any positive scale), and the seed.

    `calibrate_share` of the good teaching parts become CALIBRATE; 0 where calibration goes by folds.
    """

    teach: float
    select: float = 0.0
    test: float = 0.0
    calibrate_share: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not (self.teach > 0 and self.select >= 0 and self.test >= 0):
            raise ValueError(f"shares need teach > 0, others >= 0: {self.teach}, {self.select}, {self.test}")
        if not 0 <= self.calibrate_share < 1:
            raise ValueError(f"calibrate_share is 0 to below 1, not {self.calibrate_share}")


@dataclass(frozen=True)
class Split:
    """Samples with their roles (None: set aside), the digest of who has which, and sentences for people."""

    samples: tuple[Sample, ...]
    digest: str
    notes: tuple[str, ...] = ()


def parse_resplit(text: str, *, calibrate_share: float = 0.0, seed: int = 0) -> SplitPlan:
    """Read `70/20/10`: 70 teaches, 20 is SELECT, 10 is TEST. Raises UsageError for anything else."""
    try:
        shares = [float(piece) for piece in text.split("/")]
        teach, select, test = shares
        if abs(sum(shares) - 100) > 1e-6:
            raise ValueError("the shares do not add up to 100")
        return SplitPlan(teach, select, test, calibrate_share=calibrate_share, seed=seed)
    except ValueError as error:
        raise UsageError(
            f"--resplit {text} is no split",
            expected="three shares teach/select/test that add up to 100, such as 70/20/10",
            found=str(error),
        ) from None


def plan_for(samples: Sequence[Sample], *, calibrate_share: float = 0.0, seed: int = 0) -> SplitPlan:
    """Return the usual plan: 70/10/20 where there are defects, all to teach where there are none; a test part
    that the data brought along leaves nothing more to TEST."""
    tested = any(sample.role is Role.TEST for sample in samples)
    if any(sample.is_bad and sample.role is not Role.TEST for sample in samples):
        test = 0.0 if tested else 20.0
        return SplitPlan(70.0, 10.0, test, calibrate_share=calibrate_share, seed=seed)
    return SplitPlan(100.0, calibrate_share=calibrate_share, seed=seed)


def assign_roles(
    samples: Sequence[Sample], plan: SplitPlan, *, keep_test: bool = True, supervised: bool = False
) -> Split:
    """Give every sample a role by `plan`, in the order they came; parts and groups never straddle two roles.

    Given TEST samples keep their role and nothing is added to them, unless `keep_test` is False: then all
    are pooled and dealt anew. Defective samples never get FIT (unless `supervised`) nor CALIBRATE: they get
    SELECT, or TEST. Where a part or group in FIT or CALIBRATE holds defective photographs too, those are set
    aside (role None), as unlabelled ones are everywhere but in a given TEST. Raises LeakError where a given
    TEST shares a part, group or content with others, DataError where nothing good is left to teach from.
    """
    _refuse_repeated_ids(samples)
    kept = [sample for sample in samples if keep_test and sample.role is Role.TEST]
    if kept:
        plan = replace(plan, test=0.0)
    components = components_of(samples)
    pooled: list[list[Sample]] = []
    for component in components:
        tested = [sample for sample in component if keep_test and sample.role is Role.TEST]
        if not tested:
            pooled.append(component)
        elif len(tested) < len(component):
            _refuse_straddling(tested, component)
    dealt = _deal([_known(component) for component in pooled], plan, supervised=supervised)
    roles: dict[str, Role | None] = {sample.id: Role.TEST for sample in kept}
    for component, role in zip(pooled, dealt, strict=True):
        roles |= {sample.id: _allowed(sample, role, supervised=supervised) for sample in component}
    assigned = tuple(replace(sample, role=roles[sample.id]) for sample in samples)
    if not any(sample.role is Role.FIT and sample.is_good for sample in assigned):
        good = sum(sample.is_good for sample in samples)
        raise DataError(
            "No good part is left to teach from",
            expected="good parts outside the test part, in more than one part or group",
            found=f"{good} good images in {len(pooled)} separate parts or groups outside TEST",
        )
    return Split(assigned, split_digest(assigned), _notes(assigned, plan))


def as_given(samples: Sequence[Sample]) -> Split:
    """Return samples whose roles are set already (by a manifest) as a split."""
    return Split(tuple(samples), split_digest(samples))


def split_digest(samples: Iterable[Sample]) -> str:
    """Return the sha256 of the sorted (id, sha256, role): the name of a split, whatever the order."""
    rows = [[sample.id, sample.sha256, sample.role and sample.role.value] for sample in samples]
    return digest.of_value(sorted(rows, key=lambda row: str(row[0])))


def by_role(split: Split, role: Role) -> tuple[Sample, ...]:
    """Return the samples of one role, in order."""
    return tuple(sample for sample in split.samples if sample.role is role)


def folds(samples: Sequence[Sample], k: int, seed: int) -> tuple[tuple[int, ...], ...]:
    """Return up to `k` folds of indices into `samples`, by part and group, of nearly equal size.

    Fewer separate parts than `k` give fewer folds, none of them empty. The folds hold the same samples
    whatever the order they come in. Raises ValueError for k below 1.
    """
    if k < 1:
        raise ValueError(f"k is at least 1, not {k}")
    _refuse_repeated_ids(samples)
    index = {sample.id: i for i, sample in enumerate(samples)}
    components = components_of(samples)
    order = derive(seed, "folds").permutation(len(components))
    largest_first = sorted((components[i] for i in order), key=len, reverse=True)
    dealt: list[list[int]] = [[] for _ in range(min(k, len(components)))]
    for component in largest_first:
        smallest = min(dealt, key=len)
        smallest += [index[sample.id] for sample in component]
    return tuple(tuple(sorted(fold)) for fold in dealt)


def group_key(sample: Sample) -> str | None:
    """Return the group's name, unique among products, or None where no group is known."""
    return f"{sample.product}\x1f{sample.group}" if sample.group else None


def components_of(samples: Sequence[Sample]) -> list[list[Sample]]:
    """Join samples that share part, group or content, through others too; sorted by their least id."""
    ordered = sorted(samples, key=lambda sample: sample.id)
    parent = list(range(len(ordered)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first: dict[tuple[str, str], int] = {}
    for i, sample in enumerate(ordered):
        keys = (("part", sample.part_key), ("group", group_key(sample)), ("sha256", sample.sha256 or None))
        for kind, key in keys:
            if key is not None:
                one, other = root(first.setdefault((kind, key), i)), root(i)
                parent[max(one, other)] = min(one, other)
    found: dict[int, list[Sample]] = {}
    for i, sample in enumerate(ordered):
        found.setdefault(root(i), []).append(sample)
    return [found[i] for i in sorted(found)]


def _known(component: list[Sample]) -> Counter[_Stratum]:
    return Counter((sample.product, sample.label) for sample in component if sample.label is not None)


def _shares(plan: SplitPlan, *, good: bool, supervised: bool) -> dict[Role, float]:
    """Return the share of good or of defective images that each role should have."""
    if good:
        shares = {
            Role.FIT: plan.teach * (1 - plan.calibrate_share),
            Role.CALIBRATE: plan.teach * plan.calibrate_share,
            Role.SELECT: plan.select,
            Role.TEST: plan.test,
        }
    elif supervised:
        shares = {Role.FIT: plan.teach, Role.SELECT: plan.select, Role.TEST: plan.test}
    elif plan.select + plan.test > 0:
        shares = {Role.SELECT: plan.select, Role.TEST: plan.test}
    else:
        shares = {Role.SELECT: 1.0}
    total = sum(shares.values())
    return {role: shares.get(role, 0.0) / total for role in Role}


def _deal(components: list[Counter[_Stratum]], plan: SplitPlan, *, supervised: bool) -> list[Role]:
    """Choose a role for each component, largest first; the order of chance decides among equals."""
    totals: Counter[_Stratum] = Counter()
    for component in components:
        totals.update(component)
    shares = {stratum: _shares(plan, good=stratum[1] == GOOD, supervised=supervised) for stratum in totals}
    lacking = {
        (stratum, role): totals[stratum] * share
        for stratum, row in shares.items()
        for role, share in row.items()
    }
    order = derive(plan.seed, "split").permutation(len(components)).tolist()
    order.sort(key=lambda i: -sum(n / totals[stratum] for stratum, n in components[i].items()))
    roles = [Role.FIT] * len(components)
    for i in order:
        wanted = [role for role in Role if any(shares[stratum][role] > 0 for stratum in components[i])]
        if not wanted:  # nothing but unlabelled images, which are used for nothing
            continue
        roles[i] = max(wanted, key=lambda role: _gain(components[i], totals, lacking, role))
        for stratum, n in components[i].items():
            lacking[stratum, roles[i]] -= n
    return roles


def _gain(
    component: Mapping[_Stratum, int],
    totals: Mapping[_Stratum, int],
    lacking: Mapping[tuple[_Stratum, Role], float],
    role: Role,
) -> float:
    """Return how much nearer to the wished shares a role comes (the fall of the squared distance).

    Distances are relative to each stratum's count, so that a rare defect weighs as much as all good parts.
    """
    return sum(
        n * (2 * lacking[stratum, role] - n) / totals[stratum] ** 2 for stratum, n in component.items()
    )


def _allowed(sample: Sample, role: Role, *, supervised: bool) -> Role | None:
    if sample.label is None:
        return None
    if sample.is_bad and (role is Role.CALIBRATE or (role is Role.FIT and not supervised)):
        return None
    return role


def _refuse_straddling(tested: list[Sample], component: list[Sample]) -> None:
    test = {sample.id for sample in tested}
    other = next(sample for sample in component if sample.id not in test)
    raise LeakError(
        f"{tested[0].id} is TEST and hangs together with {other.id}, which is not",
        expected="parts, groups and contents that lie wholly in TEST or wholly outside",
        found=f"{len(component)} images joined by part, group or content, {len(tested)} of them TEST",
        remedy="Take the copies out, or pool and deal anew with --resplit 70/10/20",
    )


def _refuse_repeated_ids(samples: Sequence[Sample]) -> None:
    ids = Counter(sample.id for sample in samples)
    if ids and (worst := ids.most_common(1)[0])[1] > 1:
        raise DataError(f"The id {worst[0]!r} occurs {worst[1]} times", expected="each sample once")


def _notes(samples: Sequence[Sample], plan: SplitPlan) -> tuple[str, ...]:
    aside = [sample for sample in samples if sample.role is None]
    bad = sum(sample.is_bad for sample in aside)
    notes = []
    if bad:
        notes.append(f"{bad} defective images are set aside: good ones of their part or group teach.")
    if len(aside) > bad:
        notes.append(f"{len(aside) - bad} images without a label are set aside.")
    roles = {sample.role for sample in samples}
    wished = ((Role.SELECT, plan.select), (Role.TEST, plan.test), (Role.CALIBRATE, plan.calibrate_share))
    for role, share in wished:
        if share > 0 and role not in roles:
            notes.append(f"No image became {role.name}: too few separate parts or groups.")
    return tuple(notes)
