"""Plans on nodes: every replica on one GPU, and no more than there is."""

from msgspec import structs

from regrain.plan import Fluid, GpuShare, Group, Lane, Plan
from regrain_watchdog.policy.cost import GIB
from regrain_watchdog.policy.search.packing import gpu_parts, pack, pack_together, pods_of, shortage


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


def test_a_group_has_pods_of_its_own(make, machine):
    app = make([[], [0]], [0.01, 0.01], [0.2, 0.2], slo=1.0, gpu=[False, False])
    pods = structs.replace(machine(cores=6), pods=3)

    def plan(*replicas):
        return Plan(
            tuple(Group(stages=(f"s{place}",), replicas=count) for place, count in enumerate(replicas))
        )

    assert pack(plan(3, 2), app.profile, pods) == ((), ())
    assert pack(plan(3, 3), app.profile, pods) is None
    assert pack(plan(3, 3), app.profile, structs.replace(pods, pods=1)) == ((), ())
    assert [pods_of(group, app.profile, pods) for group in plan(3, 2).groups] == [2, 1]


def test_a_replica_that_no_pod_holds_is_told_of(make, machine):
    app = make([[]], [0.01], [0.2], slo=1.0, gpu=[False])
    pods = structs.replace(machine(cores=6), pods=3)
    group = Group(stages=("s0",), cpu=4.0)

    assert pods_of(group, app.profile, pods) == 0
    assert shortage([(group, app.profile)], pods) == "more for a replica of s0 than a pod has"


def test_replicas_in_a_pod_share_its_own_gpus(make, machine):
    app = make([[]], [0.01], [0.2], slo=1.0)
    pods = structs.replace(machine(cards=4), pods=4)

    assert [pods_of(group(0.4, count), app.profile, pods) for count in (1, 2, 3, 8)] == [1, 1, 2, 4]
    assert pack(Plan((group(0.4, 8),)), app.profile, pods) is not None
    assert pack(Plan((group(0.6, 5),)), app.profile, pods) is None
