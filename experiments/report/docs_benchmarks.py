"""Sentences and tables of the docs about benchmarks: speed, memory, kills."""

from collections.abc import Callable
from statistics import mean
from typing import Any

from experiments.report.docs_results import ROOT, as_table, load


def unless_missing(name: str, render: Callable[[Any], str]) -> str:
    """A results file's place, or that it has not been measured yet."""
    if not (ROOT / "results" / f"{name}.json").exists():
        return f"Not measured yet: `python -m experiments.benchmarks.{name.removesuffix('_cpu')}`, then `make tables`."
    return render(load(name))


def where_measured(result: dict[str, Any]) -> str:
    """Machine and command of a benchmark."""
    note = f" ({result['note']})" if result["note"] else ""
    place = result["environment"]
    return f"On {place['device']}, {place['cpus']} cores{note}; `{result['command']}`."


def overhead(result: dict[str, Any]) -> str:
    """The sentence about Lightning's cost."""
    return (
        f"Lightning's loop takes {result['ratio']:.3f} times a bare PyTorch loop with the same mathematics on the same "
        f"batches (median of {len(result['ratios'])} rounds in one run; weights "
        f"{'bit-equal' if result['weights_bit_equal'] else 'different'}; `make benchmark`)."
    )


def victim_speed(result: dict[str, Any]) -> str:
    """The sentence about the trainer of victims."""
    shown = ", ".join(
        f"{ratio:.2f} {'with ' + name.partition(', ')[2] if ', ' in name else 'without augmentation'}"
        for name, ratio in result["ratio"].items()
    )
    return (
        f"The trainer makes {result['images_per_second']['ours']:.0f} images per second (`{result['recipe']}`, "
        f"{result['arch']}, 32×32, batches of {result['batch_size']}, {result['precision']}); of a bare PyTorch loop "
        f"over preloaded float tensors with the same network, batch and precision that is {shown} (processor time on "
        f"{result['environment']['device']}, one thread, median of {result['rounds']} rounds"
        f"{'; ' + result['note'] if result['note'] else ''}; `{result['command']}`)."
    )


def data_path(result: dict[str, Any]) -> str:
    """The sentences about the cost of the data path."""
    plain, scaled = result["cache"], result["cache_scaled"]
    batches = {name: result[f"batches {name}"] for name in ("none", "crop+flip")}
    small, large = result["memory"]
    return "\n".join(
        [
            f"* Building the cache: {plain['images_per_second']:.0f} JPEGs per second (640×480 to 64×64), "
            f"{plain['ratio']:.2f} of the speed of bare Pillow in as many threads, "
            f"{scaled['ratio']:.2f} of bare Pillow with the same scaled decoding.",
            f"* Batches of 128 (and a partner for each image) from the cache: "
            f"{batches['none']['batches_per_second']:.0f} per second, {batches['none']['ratio']:.2f} of a plain loop "
            f"over the same array in memory; with crop and flip {batches['crop+flip']['batches_per_second']:.0f}, "
            f"{batches['crop+flip']['ratio']:.2f}.",
            f"* Memory of its own that a process adds while it builds a cache and reads an epoch: "
            f"{small['peak_mib'] - small['before_mib']:.0f} MiB for {small['images']:,} images, "
            f"{large['peak_mib'] - large['before_mib']:.0f} MiB for {large['images']:,} ({large['set_mib']:.0f} MiB).",
            f"* On {result['environment']['device']}, {result['environment']['cpus']} cores; medians of "
            f"{len(plain['ratios'])} rounds in one run (`make benchmark`).",
        ]
    )


def fitting(name: str) -> str:
    """One row per method: passes and seconds of fitting beside what its paper implies; says so where unmeasured."""
    if not (ROOT / "results" / f"{name}.json").exists():
        return "Not measured yet (`make benchmark`)."
    result = load(name)
    rows = [
        ["`method=`", "backward passes per image", "implied by the paper", "ratio", "seconds, of the implied passes'"]
    ]
    for method, found in result["methods"].items():
        counts = [f"{found[key]:.2f}" for key in ("passes", "implied", "passes_ratio")]
        seconds = "–" if found["seconds_ratio"] is None else f"{found['seconds_ratio']:.2f}"
        rows.append([f"`{method}`", *counts, seconds])
    where = result["environment"]
    told = (
        f"{result['images']} digits, few steps, one thread of {where['device']}; seconds of the processor, medians of "
        f"{result['rounds']} rounds (`python -m experiments.benchmarks.methods rounds={result['rounds']}`)."
    )
    return "\n".join([as_table(rows), "", told])


def protecting(result: dict[str, Any]) -> str:
    """The sentences about the cost of protecting a folder."""
    shares = ", ".join(f"{step} {100 * share:.0f} %" for step, share in result["shares"].items())
    again = result["again_processor_seconds"]
    ours, bare = (result["images"] / result[f"{whose}images_per_processor_second"] for whose in ("", "bare_"))
    note = f" ({result['note']})" if result["note"] else ""
    return "\n".join(
        [
            f"* {result['images_per_processor_second']:.3g} photos for each second of one core "
            f"({result['images']} of `{result['photos']}`, a generator of the default form), "
            f"{result['ratio']:.2f} of bare decoding and encoding with the same settings, which makes "
            f"{result['bare_images_per_processor_second']:.3g}.",
            f"* With the codes of class folders, which leaves reading out: {result['folders_images_per_second']:.3g} "
            f"photos per second, {result['folders_ratio']:.2f} of bare decoding and encoding.",
            f"* Where the time goes: {shares}. Reading the class takes "
            f"{result['milliseconds']['read the class']:.1f} ms per photo, {result['batch']} photos at a time; one at "
            f"a time {result['read_alone_milliseconds']:.1f} ms.",
            f"* Without any reading the ratio would be {result['ratio_without_reading']:.2f}: finding and adding the "
            "noise, and decoding some copies again, are the rest.",
            f"* The photos have {result['bytes']['photos'] / 1e6:.1f} MB, the copies "
            f"{result['bytes']['copies'] / 1e6:.1f} MB; without noise, so encoded, they would have "
            f"{result['bytes']['bare'] / 1e6:.1f} MB.",
            f"* The report takes {result['report_processor_seconds']:.1f} s of these figures; more photos hardly make "
            f"it longer. Without it the ratio is {bare / (ours - result['report_processor_seconds']):.2f}.",
            f"* A second call, which finds and verifies everything: {1000 * again / result['images']:.1f} ms per "
            "photo.",
            f"* On {result['environment']['device']}, threads: {result['workers']}{note}; medians of "
            f"{len(result['seconds']['ours'])} rounds in one run (`{result['command']}`).",
            "",
            as_table(
                [["encoded as", "time per photo", "size of the copy"]]
                + [
                    [name, f"{row['milliseconds']:.1f} ms", f"{row['kilobytes']:,.0f} kB"]
                    for name, row in result["encoders"].items()
                ]
            ),
        ]
    )


def checked(result: dict[str, Any]) -> str:
    """What a check of protected photos found, a line for each chain."""
    lines = ["| what happens to the photos | clean → protected | noise left |", "|---|---|---|"]
    for one in result["chains"]:
        pair = f"{100 * one['clean']:.0f} → {100 * one['protected']:.0f}"
        lines.append(f"| `{one['chain']}`: {one['does']} | {pair} | {100 * one['noise_left']:.0f} % |")
    return "\n".join(lines) + (
        f"\n\n{result['photos']} photos in {len(result['classes'])} class folders (`{result['command']}`): balanced "
        f"accuracy in %, seed {result['seed']}, chance {100 * result['chance']:.0f}. On "
        f"{result['environment']['device']}."
    )


def visibility(result: dict[str, Any]) -> str:
    """What sparing smooth areas costs: a line for each choice."""
    clean = result["variants"]["clean"]["accuracy"]
    rows = [["`visible=`", *(f"shrunk to {size} pixels" for size in clean), "PSNR, dB", "SSIM"]]
    for name, found in result["variants"].items():
        if name != "clean":
            pairs = [f"{100 * mean(clean[s]):.1f} → {100 * mean(found['accuracy'][s]):.1f}" for s in clean]
            rows.append([f"`{name}`", *pairs, f"{found['psnr']:.1f}", f"{found['ssim']:.3f}"])
    return "\n".join(
        [
            as_table(rows),
            "",
            f"{result['what']} (`{result['command']}`): accuracy in % at the victim's last epoch, clean → protected, "
            f"seeds: {result['seeds']}, chance {100 * result['chance']:.0f}. PSNR and SSIM at the photos' own size. On "
            f"{result['environment']['device']}.",
        ]
    )


def scaling(result: dict[str, Any]) -> str:
    """Whether numbers of processes compute the same, and what sharing a step costs."""
    rows = [["start", "losses compared", "largest relative difference", "results that differ", "by at most, relative"]]
    for start, row in result["same"].items():
        differing = f"{len(row['results_that_differ'])} of {row['results']}"
        rows.append(
            [start, str(row["losses"]), f"{row['loss_difference']:.1e}", differing, f"{row['result_difference']:.1e}"]
        )
    equal = "" if result["same"]["2 machines of 1"]["bits_of_2_processes"] else " **not**"
    kept = result["step"]["efficiency"]
    return "\n".join(
        [
            as_table(rows),
            "",
            "Beside one process; differences are sums in another order, which grow from step to step (dropout is off). "
            f"Two machines of one process end with{equal} the bits of two processes on one.",
            "",
            f"Scaling efficiency of the training step from one process to two, on the same global batches: "
            f"{kept['lightning clock']:.2f} by the clock and {kept['lightning processor']:.2f} by seconds of the "
            f"processor; a plain loop with torch's DDP around each network has {kept['plain clock']:.2f} and "
            f"{kept['plain processor']:.2f}. `protect` on photos of 224 pixels, by the clock and without its start, "
            f"has {result['protect']['efficiency']:.2f}. {where_measured(result)}",
        ]
    )


def memory(result: dict[str, Any]) -> str:
    """What a step holds and sends, by image size."""
    rows = [["side, pixels", "MiB per step", "MiB per image"]]
    for side, found in result["memory"].items():
        rows.append([side, f"{found['mib']:.0f}", f"{found['mib'] / result['images']:.2f}"])
    sizes = next(iter(result["memory"].values()))["parameters"]
    parts = ", ".join(f"{name} {count:,}" for name, count in sizes.items())
    total = sum(sizes.values())
    return "\n".join(
        [
            as_table(rows),
            "",
            f"A step's additional memory for {result['images']} colour images of 10 classes, one process. Trainable "
            f"parameters of the default form: {parts}; together P = {total:,}, hence 12 P = {12 * total / 1e6:.1f} MB "
            f"out of each of two processes per step, up to {24 * total / 1e6:.1f} MB with many.",
        ]
    )


def kills(result: dict[str, Any]) -> str:
    """What became of a run that was killed again and again."""
    by = {name: sum(row["launcher"] == name for row in result["rounds"]) for name in ("plain", "torchrun")}
    first = sum(row["first"] for row in result["rounds"])
    slowest = max(row["seconds"] for row in result["rounds"])
    equal = "bit-equal to" if result["weights_bit_equal"] else "**different from**"
    return (
        f"A run of two processes, killed {result['kills']} times by SIGKILL to one of them ({first} times the first; "
        f"started by Lightning {by['plain']} times, by torchrun {by['torchrun']}) and resumed: weights "
        f"{equal} an undisturbed run's; "
        f"{result['hung']} starts hung, the slowest ended {slowest:.0f} s after its kill. {where_measured(result)}"
    )


def killed_grid(result: dict[str, Any]) -> str:
    """What a grid takes that is killed on the way."""
    when = " and ".join(str(row["finished"]) for row in result["rounds"])
    return (
        f"`grid={result['grid']}`, {result['cells']} cells, killed {result['kills']} times by SIGKILL when {when} were "
        f"finished, and started again: {result['seconds'] / 60:.0f} minutes by the clock, {result['lost']} cells lost, "
        f"{result['done_twice']} done twice, {result['missing']} missing. {where_measured(result)}"
    )
