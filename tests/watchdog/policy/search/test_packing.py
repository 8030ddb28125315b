"""Plans on nodes: every replica on one GPU, and no more than there is."""

from regrain.plan import Fluid, GpuShare, Group, Lane, Plan
from regrain_watchdog.policy.cost import GIB
from regrain_watchdog.policy.search.packing import gpu_parts, pack, pack_together


def group(share, replicas, stages=("s0",)):
    return Group(stages=stages, replicas=replicas, gpu=GpuShare(fraction=share))


def test_a_share_lies_on_one_gpu(make, machine):
    app = make([[]], [0.01], [0.2], slo=1.0)

    assert pack(Plan((group(0.6, 2),)), app.profile, machine(cards=2)) == ((0, 1),)
    assert pack(Plan((group(0.6, 3),)), app.profile, machine(cards=2)) is None


def test_memory_counts_as_well_as_shares(make, machine):
    app = make([[]], [0.01], [0.2], slo=1.0, weights=7 * GIB)

    assert pack(Plan((group(0.05, 2),)), app.profile, machine(cards=1)) == ((0, 0),)
    assert pack(Plan((group(0.05, 3),)), app.profile, machine(cards=1)) is None


def test_cores_and_main_memory_count(make, machine):
    app = make([[]], [0.01], [0.2], slo=1.0, gpu=[False])
    plan = Plan((Group(stages=("s0",), replicas=3),))

    assert pack(plan, app.profile, machine(cores=3)) == ((),)
    assert pack(plan, app.profile, machine(cores=2.5)) is None
    assert pack(plan, app.profile, machine(memory=GIB // 2)) is None


def test_a_fluid_group_holds_its_weights_once_on_each_gpu(make, machine):
    app = make([[], [0]], [0.01] * 2, [0.2] * 2, slo=1.0, weights=2 * GIB)
    lanes = tuple(Lane(stage=stage, fraction=0.2, max_size=1) for stage in ("s0", "s1"))
    fluid = Group(stages=("s0", "s1"), replicas=5, gpu=GpuShare(), fluid=Fluid(share=1.25, lanes=lanes))

    whole, rest = gpu_parts(fluid, app.profile)

    assert (whole.floor, rest.floor) == (1.0, 0.25)
    assert whole.memory - rest.memory == 3 * (GIB // 2 + (1 << 20))
    assert pack(Plan((fluid,)), app.profile, machine(cards=2)) == ((0, 1),)
    assert pack(Plan((fluid,)), app.profile, machine(cards=1)) is None


def test_apps_share_a_node(make, machine):
    app = make([[]], [0.01], [0.2], slo=1.0)
    one = (Plan((group(0.6, 1),)), app.profile)

    assert pack_together([one, one], machine(cards=2)) == ((0,), (1,))
    assert pack_together([one, one], machine(cards=1)) is None
