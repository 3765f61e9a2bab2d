"""Tables of what was measured: of victims, from findings, and of the noise itself, from the rows of protections."""

from statistics import mean, stdev

from evaluation.rows import protections, select, victims
from evaluation.verdicts import PROTECTED, Finding, moments, percent
from experiments.report.grid_table import ssim
from experiments.report.inputs import ReportInput
from experiments.report.page import Table


def numbers(found: list[Finding]) -> Table:
    """A line for each data set, variant, setting and victim."""
    head = ["data", "variant", "setting", "victim", "verdict", "clean", "protected", "recovered"]
    partly = any(f.remainder for f in found)
    head += ["clean remainder alone"] if partly else []
    rows = []
    for f in found:
        share = "–" if f.share is None else f"{round(100 * f.share, 1) + 0.0:.1f}"  # no -0.0
        if f.share is not None and len(f.shares) > 1:
            share += f" ± {100 * stdev(f.shares):.1f}"
        scores = [percent(v, 1) for v in (f.clean, f.protected, f.selected, f.peak)]
        last = (f.grade if f.setting in PROTECTED else "–") + (f" ({f.failed} failed)" if f.failed else "")
        seeds = ", ".join(map(str, f.seeds)) or "none"
        alone = [percent(f.remainder, 1)] if partly else []
        place = [f.data, f.variant, f.setting, f.victim]
        rows.append([*place, last, *scores[:2], share, *alone, *scores[2:], f"{100 * f.chance:.0f}", seeds])
    return Table("What victims reach on clean images", [*head, "selected", "peak", "chance", "seeds"], rows)


def noise_table(asked: ReportInput) -> Table:
    """A line for each data set, variant and setting: what the noise looks like, and what can be read from it."""
    head = ["data", "variant", "setting", "ε", "largest change", "L2", "PSNR, dB", "worst PSNR, dB", "SSIM"]
    head += ["linear probe", "conv probe", "B classified correctly", "swap", "found (AUROC)", "stands out"]
    rows = []
    made = protections(asked.rows)
    for data in asked.spec["data"]:
        for variant in asked.spec["variants"]:
            for setting in PROTECTED:
                own = [r for r in select(made, data=data, variant=variant) if setting in r.imperceptibility]
                if not own:
                    continue
                hidden = [r.imperceptibility[setting] for r in own]
                read = [
                    [value for r in own if (value := r.noise_only[probe].get(setting)) is not None]
                    for probe in ("linear", "conv")
                ]
                named = [r.named.balanced_accuracy for r in own if r.named] if setting == "fast" else []
                trained = select(victims(asked.rows), data=data, variant=variant, setting=setting)
                seen = [r.detection[setting] for r in own if r.detection and setting in r.detection]
                best = [max(d.values(), key=lambda found: found.images) for d in seen]
                bounds = sorted({r.epsilon for r in own if r.epsilon})
                rows.append(
                    [
                        *(data, variant, setting, ", ".join(f"{b:g}/255" for b in bounds) or "–"),
                        f"{255 * max(h.linf for h in hidden):.0f}/255",
                        *(f"{mean(h.l2 for h in hidden):.2f}", moments([h.psnr for h in hidden])),
                        *(f"{min(h.psnr_min for h in hidden):.1f}", ssim(hidden)),
                        *map(percent, read),
                        *(percent(named), percent([r.swap for r in trained if r.swap is not None])),
                        f"{mean(d.images for d in best):.2f}" if best else "–",
                        f"{percent([d.set_clean for d in best])} → {percent([d.set_protected for d in best])}"
                        if best
                        else "–",
                    ]
                )
    return Table("Noise on the stored files", head, rows)
