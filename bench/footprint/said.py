"""What people read of profiles and extrapolations: labelled lines, and facts for JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.footprint import stable
from bench.footprint.quantity import Quantity
from bench.units import show_duration, show_energy, significant

if TYPE_CHECKING:
    from bench.footprint.profile import Part, Profile

Lines = list[tuple[str, str]]
"""(label, text) of each line; a line without a label goes on with the last."""


def number(quantity: Quantity, digits: int = 3) -> str:
    """214 W ± 3 W."""
    unit = f" {quantity.unit}" if quantity.unit else ""
    if quantity.uncertainty is None:
        return f"{significant(quantity.value, digits)}{unit} ± unknown"
    unsure = significant(quantity.uncertainty, 2)
    return f"{significant(quantity.value, digits)}{unit} ± {unsure}{unit}"


def profile_lines(profile: Profile) -> Lines:
    """A profile: power first, then what it is good for, then how sure that is."""
    record = profile.record
    spec = record.spec
    known = "estimated, not measured" if profile.estimated else "measured"
    said = [
        ("profile", f"{record.run_id}  {spec.model} on {spec.task}, {spec.recipe}; "
                    f"{spec.hardware}"),
        ("batch", _batch(profile)),
        ("power", f"{number(profile.power_w)}, {known} ({record.level}), while it trained"),
        *_domains(profile),
        ("", f"not covered: {'; '.join(record.not_covered)}") if record.not_covered else ("", ""),
        ("stable", _stable(profile)),
        ("speed", _speed(profile)),
        ("energy", f"{number(profile.step_j)} a step"),
    ]  # fmt: skip
    if profile.token_j:
        said.append(("", f"{_small(profile.token_j)} a token"))
    said += _around(profile)
    said += [("uncertainty", _unsure(profile))]
    return [(label, text) for label, text in said if text]


def _batch(profile: Profile) -> str:
    settings = profile.record.spec.settings
    tokens = profile.tokens_a_step
    each = f", {significant(tokens)} tokens learned from a step" if tokens else ""
    if settings.get("batch_tokens"):
        return f"{settings['batch_tokens']:,} tokens of both sides{each}"
    return f"{settings.get('batch_size')} x {settings.get('max_length')} tokens at most{each}"


def _domains(profile: Profile) -> Lines:
    if len(profile.by_domain) < 2:
        return []
    kinds = {d.domain: f"{d.kind} ({d.device}, {d.level})" for d in profile.domains}
    said = []
    for domain, mean in profile.by_domain.items():
        half = "" if mean.half_width is None else f" ± {significant(mean.half_width, 2)} W"
        said.append(("", f"{significant(mean.value)} W{half} {kinds.get(domain, domain)}"))
    return said


def _stable(profile: Profile) -> str:
    verdict = profile.verdict
    after = show_duration(profile.train_s)
    out = f"the first {show_duration(verdict.left_out_s)} left out"
    if verdict.stable:
        return f"yes, after {after} of training: {verdict.why}; {out}"
    return f"no, not in {after} of training: {verdict.why}; {out}"


def _speed(profile: Profile) -> str:
    tokens = profile.tokens_per_s
    return f"{_rate(profile.steps_per_s)} steps/s" + (
        f", {_rate(tokens)} tokens/s" if tokens else ""
    )


def _rate(quantity: Quantity) -> str:
    unsure = quantity.uncertainty
    return significant(quantity.value) + ("" if unsure is None else f" ± {significant(unsure, 2)}")


def _small(quantity: Quantity) -> str:
    """Joules, or thousandths of one."""
    if quantity.value >= 0.1:
        return number(quantity)
    unsure = quantity.uncertainty
    milli = Quantity("", 1e3 * quantity.value, "mJ", uncertainty=None if unsure is None
                     else 1e3 * unsure)  # fmt: skip
    return number(milli)


def _around(profile: Profile) -> Lines:
    said = [f"{_part(profile.before)} before it trained"]
    for name, part in (("scoring of tune", profile.evaluate), ("prediction", profile.predict)):
        if part is None:
            continue
        whole = part.energy_j / part.times / (part.share or 1.0)
        told = ", from a sample" if part.share and part.share < 1 else ""
        said.append(f"{show_energy(whole)} a {name}{told}")
    return [("besides" if i == 0 else "", text) for i, text in enumerate(said)]


def _part(part: Part) -> str:
    return f"{show_energy(part.energy_j)} in {show_duration(part.duration_s)}"


def _unsure(profile: Profile) -> str:
    power_w = profile.verdict.power_w
    scatter = "unknown" if power_w is None else f"{100 * power_w.share:.2g} %"
    what = "the model of the estimate" if profile.estimated else "the meters"
    return f"{what} {100 * profile.meter_share:.2g} %, scatter of {len(profile.settled)} blocks " \
           f"{scatter}; both are in the numbers (95 %)"  # fmt: skip


def profile_facts(profile: Profile) -> dict[str, Any]:
    """For JSON."""
    verdict, record = profile.verdict, profile.record
    quantities = {
        "power": profile.power_w, "steps_per_s": profile.steps_per_s,
        "tokens_per_s": profile.tokens_per_s, "energy_a_step": profile.step_j,
        "energy_a_token": profile.token_j,
    }  # fmt: skip
    return {
        "run_id": record.run_id, "folder": str(profile.folder), "status": record.status,
        "model": record.spec.model, "task": record.spec.task, "recipe": record.spec.recipe,
        "settings": record.spec.settings, "hardware": record.spec.hardware,
        "level": record.level, "coverage": record.coverage, "estimated": profile.estimated,
        "stable": verdict.stable, "why": verdict.why, "rule": stable.RULE,
        "left_out_s": verdict.left_out_s, "train_s": profile.train_s,
        "blocks": len(profile.settled), "block_s": profile.block_s,
        "correlation": verdict.power_w.correlation if verdict.power_w else None,
        "drift_w": verdict.drift_w, "meter_share": profile.meter_share,
        "tokens_a_step": profile.tokens_a_step,
        **{name: q.as_dict() if q else None for name, q in quantities.items()},
        "power_by_domain": {d: {"w": m.value, "half_width_w": m.half_width}
                            for d, m in profile.by_domain.items()},
        "before": _facts(profile.before), "evaluate": _facts(profile.evaluate),
        "predict": _facts(profile.predict), "not_covered": record.not_covered,
        "warnings": [w.model_dump() for w in record.warnings],
    }  # fmt: skip


def _facts(part: Part | None) -> dict[str, Any] | None:
    if part is None:
        return None
    return {"energy_j": part.energy_j, "duration_s": part.duration_s, "times": part.times,
            "share": part.share}  # fmt: skip
