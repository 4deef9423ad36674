"""Where software sums gradients: around the devices' links, or on the processors.

NCCL 1 has one ring, in the order of the devices' numbers. In a hybrid cube mesh of eight the neighbours 3 and 4, and 7
and 0, have no link between them, so that beyond four the ring passes the host there, and goes at that pace. TensorFlow
of 2017 may have the processors sum instead (`variable_update=parameter_server`): gradients are copied and added beside
the backward pass, and the next step waits for its weights. People chose the faster way for each network.

Worked example: VGG-16 on eight P100, 553 MB of gradients, a backward pass of 150 ms: around a ring that passes PCIe 3
at 12.1 GB/s 2 x 7/8 x 553 MB, 80 ms; on the processors 553 MB at 13.1 GB/s, 42 ms, and of 8 x 553 MB at 10 GB/s what is
left after the backward pass, 292 ms: 334 ms. ResNet-50, 102 MB: 15 ms, and 8 ms.

Sources: NVIDIA, "Tesla P100", WP-08019-001 (hybrid cube mesh); tensorflow.org, "Benchmarks", May 2017 (what was chosen
for each network); Baidu, DeepBench, NVIDIA's all-reduces of 2017.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf

from simulator.device.host_link import HOST_COPY, host_link_byte_per_s
from simulator.device.link import Cost, Link
from simulator.device.system import Cluster
from simulator.roofline.collectives import Collective, cost_of, family_of
from simulator.roofline.setting import Setting

ONE_FLOW = 0.77
"""Share of a host's link that a ring's edge sustains alone: in all-reduces of 12 to 258 MB two GeForce GTX 1080 Ti, and
two Titan X of Pascal, send 11.9 to 12.2 of the 15.75 GB/s of PCIe 3 each (DeepBench, NCCL 2.0)."""


@dataclass(frozen=True)
class Summing:
    """How a step's gradients are summed.

    Attributes
    ----------
    cluster : the devices, and the link that the ring's slowest edge goes over.
    bucket_bytes : gradients that are summed together; infinite where all of them wait for the end. [byte]
    copy_byte_per_s, adding_byte_per_s : of the processors, where they may sum instead: what each device's weights come
        back at, and the operands that are added in a second; 0 where they never do.
    """

    cluster: Cluster
    bucket_bytes: float
    copy_byte_per_s: float = 0.0
    adding_byte_per_s: float = 0.0

    def host_seconds(self, message_bytes: float) -> tuple[float, float]:
        """Until the weights are back, and what the processors add up beside the backward pass, of all gradients. [s]"""
        if not self.adding_byte_per_s:
            return inf, 0.0
        return message_bytes / self.copy_byte_per_s, self.cluster.devices * message_bytes / self.adding_byte_per_s


def summing_of(setting: Setting, cluster: Cluster) -> Summing:
    """How the setting's framework sums the gradients of a cluster's devices.

    Several machines, and devices of which no link to their host is known, sum around their links alone.
    """
    software, links = setting.framework, setting.device.profile.links
    if cluster.nodes > 1 or links is None or links.host is None:
        return Summing(cluster, software.bucket_bytes)
    mesh = software.ring_devices if family_of(cluster.link.name) == "nvlink" else 0
    if mesh and cluster.devices > mesh:
        cluster = replace(cluster, link=_past_the_host(setting, cluster.link))
    copy = HOST_COPY * host_link_byte_per_s(setting.device)
    return Summing(cluster, software.bucket_bytes, copy, software.host_adding_byte_per_s)


def _past_the_host(setting: Setting, link: Link) -> Link:
    """The link with all-reduces at the pace of an edge that passes the host."""
    cost = cost_of(link, Collective.ALL_REDUCE)
    slow = Cost(cost.start_s, cost.hop_s, ONE_FLOW * host_link_byte_per_s(setting.device))
    return replace(link, costs={**link.costs, Collective.ALL_REDUCE: slow})
