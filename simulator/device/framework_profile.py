"""What a framework's file may say: the schema of `hardware_profiles/frameworks/*.yaml`, as people write it."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from simulator.device.profile import Source, Strict


class Dispatch(Strict, frozen=True, kw_only=True):
    """Host time to issue one call of each phase, and to begin a step; device time of a call's helper kernels.

    `blocking`: the host issues a call once the one before has ended (CUDA_LAUNCH_BLOCKING=1).
    """

    forward: str
    backward: str
    update: str
    step: str = "0 s"
    helpers: str = "0 s"
    products: Annotated[str, Meta(description="of a matrix product's forward call, where it is another")] | None = None
    casts_beside: Annotated[
        bool, Meta(description="casts of weights, which wait for nothing, are issued by a thread of their own")
    ] = False
    blocking: bool = False


class ExecutionPath(Strict, frozen=True, kw_only=True):
    """How a framework runs kernels: one path for plain precisions, one for mixed precision."""

    elementwise: Annotated[float, Meta(gt=0, description="element-wise traffic left after fusion")] = 1.0
    convolution: Annotated[float, Meta(gt=0, description="rate of its convolutions, of the device's")] = 1.0
    products: Annotated[float, Meta(gt=0, description="rate of its matrix products, of the device's")] = 1.0
    attention: Annotated[float, Meta(gt=0, description="rate of its fused attention, of the device's")] = 1.0
    on_families: Annotated[
        dict[str, Annotated[float, Meta(gt=0)]],
        Meta(
            description="rate of its products and convolutions by family of devices, further, where its library is poor"
        ),
    ] = msgspec.field(default_factory=dict)
    hopper_attention: Annotated[
        bool, Meta(description="has fused attention for Hopper's matrix instructions, not for those of Ampere alone")
    ] = True
    transposes: Annotated[
        float, Meta(ge=0, description="times a tensor-core convolution's operands are copied into channels-last layout")
    ] = 0.0
    layout: Annotated[
        Literal["channels first", "channels last", "chosen"],
        Meta(
            description="of tensors; tensor cores take channels last as they are; chosen for each network by a compiler"
        ),
    ] = "channels first"
    half_last: Annotated[
        tuple[str, ...], Meta(description="families on which convolutions of half width are channels last")
    ] = ()
    odd_groups: Annotated[
        bool,
        Meta(description="has tensor-core kernels for channels-last groups of any width, not of powers of two alone"),
    ] = True
    odd_batches: Annotated[
        bool,
        Meta(
            description="has tensor-core kernels for batches of half-width products whose sides are no multiples of 8"
        ),
    ] = True
    poor_groups: Annotated[
        tuple[str, ...], Meta(description="families for whose grouped convolutions its library has poor kernels alone")
    ] = ()
    many_filters: Annotated[
        bool,
        Meta(
            description="has good kernels for the half-width gradients of 1,024 filters of 1 x 1 and more on cards "
            "without half-width units"
        ),
    ] = False
    launched_groups: Annotated[
        tuple[str, ...],
        Meta(description="families for which its library issues a grouped convolution group by group"),
    ] = ()
    depthwise_gradients: Annotated[
        float,
        Meta(
            gt=0,
            le=1,
            description="half width, channels first: rate of gradients of depthwise convolutions, of the device's",
        ),
    ] = 1.0
    own_depthwise: Annotated[
        float,
        Meta(
            ge=0,
            description="channels first: rate, of the lanes', of its own kernel for depthwise windows that are no "
            "squares of 1, 3 or 5; 0: it has none",
        ),
    ] = 0.0
    narrow_gradients: Annotated[
        float,
        Meta(
            ge=0,
            description="the same of fewer than 32 groups: channels that each group's gradients take beside its own",
        ),
    ] = 0.0
    large_depthwise: Annotated[
        float,
        Meta(
            ge=0,
            description="passes over the input of a channels-last depthwise convolution of 2^31 values and more, whose "
            "library counts them in 32 bits, so that it is copied and runs elsewhere",
        ),
    ] = 0.0
    tf32_groups: Annotated[bool, Meta(description="has tensor-core kernels for groups at tf32")] = True
    folds: Annotated[bool, Meta(description="folds batch normalisation into convolutions at inference")] = False
    walks_windows: Annotated[
        bool,
        Meta(description="forward pooling is its own kernel, a thread for each output, whose time is the window's"),
    ] = False
    windows: Annotated[
        float, Meta(gt=0, description="operations that its pooling takes for each value of a window, where they weigh")
    ] = 1.0
    fuses: Annotated[bool, Meta(description="compiles element-wise operations in a row to one kernel")] = False
    inlines: Annotated[
        bool,
        Meta(description="works out what reads few tensors anew in each kernel that reads it, at inference on a GPU"),
    ] = False
    joins: Annotated[
        tuple[Literal["training", "half training", "inference"], ...],
        Meta(
            description="when normalisation, the addition and the activation after it are one kernel; half training: "
            "in training on half-width values"
        ),
    ] = ()
    persistent: Annotated[
        bool,
        Meta(
            description="normalises batches in training by kernels that keep a channel on the chip from its sums to "
            "what follows from them, and so read it once"
        ),
    ] = False
    channel_operations: Annotated[
        float,
        Meta(ge=0, description="operations that finding the channel of a value takes its normalisation at inference"),
    ] = 0.0
    biases: Annotated[
        tuple[Literal["convolutions", "depthwise", "products"], ...],
        Meta(
            description="whose biases are added in kernels of their own: convolutions' (but those of one channel a "
            "group), depthwise ones', matrix products'"
        ),
    ] = ()
    promotes: Annotated[
        bool, Meta(description="keeps softmax, layer norms and what they are added to in full width in mixed precision")
    ] = False
    casts: Annotated[bool, Meta(description="casts master weights again in each forward pass at inference")] = False
    heads_in_place: Annotated[
        bool, Meta(description="the products of eager attention take the heads where they lie, without copies")
    ] = False


class HeldMemory(Strict, frozen=True, kw_only=True):
    """What a framework holds of a device's memory beside the tensors of a step."""

    context: Annotated[str, Meta(description="the driver's context and the loaded kernels, such as '500 MiB'")] = "0 B"
    workspace: Annotated[str, Meta(description="scratch space of its libraries")] = "0 B"
    algorithms: Annotated[
        str, Meta(description="scratch space up to which it takes a convolution's algorithm, or 'any'")
    ] = "any"
    fragmentation: Annotated[float, Meta(ge=0, lt=1, description="allocated but unused, of the activations")] = 0.0
    loss_in_place: Annotated[
        bool, Meta(description="the gradient of the logits overwrites their probabilities, and is no tensor of its own")
    ] = False
    keeps: Annotated[
        tuple[Literal["gradients", "gathered", "sent"], ...],
        Meta(
            description="what stays longer than it must: gradients of all weights in one buffer, what tensor-parallel "
            "ranks gathered until the backward pass, what pipeline stages sent until its gradient comes"
        ),
    ] = ()


class GradientSection(Strict, frozen=True, kw_only=True):
    """How gradients are summed over devices that work on one step."""

    bucket: Annotated[
        str, Meta(description="gradients summed together, such as '25 MiB'; 'all' waits for the last")
    ] = "25 MiB"
    tower: Annotated[
        str,
        Meta(
            description="what each further device that the same process drives adds to a step of batch normalisations "
            "at half width alone"
        ),
    ] = "0 s"
    ring: Annotated[
        int,
        Meta(
            ge=0,
            description="devices of an NVLink mesh around which its rings find links; those of more pass the host; 0: "
            "any number",
        ),
    ] = 0
    host: Annotated[
        str,
        Meta(
            description="gradients that processors add in a second, where they sum them if that is faster; '0 GB/s': "
            "never"
        ),
    ] = "0 GB/s"
    accumulation: Annotated[
        Literal["fused", "added", "copied", "narrow"],
        Meta(
            description="over micro-batches: fused into the product, added by a kernel, kept apart until the backward "
            "pass has ended and then added, or added in the narrow format that they are made in"
        ),
    ] = "added"


class ExpertSection(Strict, frozen=True, kw_only=True):
    """How a framework runs the experts of a layer."""

    issue: Annotated[
        str,
        Meta(description="an expert's calls, forward and backward, that the host issues once it has read the counts"),
    ] = "0 s"


class ProcessorSection(Strict, frozen=True, kw_only=True):
    """What a framework's calls cost on a processor that did not measure them (`roofline/processor.py`)."""

    call: Annotated[str, Meta(description="a forward call, one after the other; left out where calls queue")] | None = (
        None
    )
    convolution: Annotated[str, Meta(description="further time of a call of the convolution library")] = "0 s"
    relayout: Annotated[float, Meta(ge=0, description="times a convolution's operands change layout at each call")] = (
        0.0
    )
    packing: Annotated[float, Meta(ge=0, description="times operands of a matrix product are packed")] = 0.0
    first_touch: Annotated[
        float, Meta(ge=0, description="large tensors are new pages, written at this share of the bandwidth; 0: kept")
    ] = 0.0


class Release(Strict, frozen=True, kw_only=True):
    """Which releases of a framework another file describes."""

    of: Annotated[str, Meta(description="the framework whose own file describes the releases in use")]
    since: Annotated[int, Meta(description="first year")] = 0
    until: Annotated[int, Meta(description="last year")] = 9999


class FrameworkProfile(Strict, frozen=True, kw_only=True):
    """One framework: `hardware_profiles/frameworks/<name>.yaml`; what it leaves out is as in the one it is `like`."""

    name: str
    kind: Literal["framework"]
    description: str
    aliases: tuple[str, ...] = ()
    like: Annotated[str | None, Meta(description="the framework whose values hold where this one gives none")] = None
    release: Release | None = None
    eager_attention: Annotated[bool, Meta(description="has no fused attention: its parts run one by one")] = False
    written_gelu: Annotated[bool, Meta(description="has no kernel for GELU: its formula runs line by line")] = False
    adds_gradients: Annotated[
        bool, Meta(description="sets gradients to zero before each step and adds to them, and does not replace them")
    ] = False
    dispatch: Dispatch | None = None
    plain: ExecutionPath = ExecutionPath()
    mixed: ExecutionPath = ExecutionPath()
    processor: ProcessorSection = ProcessorSection()
    memory: HeldMemory = HeldMemory()
    gradients: GradientSection = GradientSection()
    experts: ExpertSection = ExpertSection()
    sources: tuple[Source, ...] = ()


SECTIONS = ("dispatch", "plain", "mixed", "processor", "memory", "gradients", "experts")
"""Parts of a framework's file that are merged, value by value, over those of the framework it is like."""
