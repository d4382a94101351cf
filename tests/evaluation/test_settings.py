from __future__ import annotations

import pytest

from sdflow.config import JobSettings, load_settings, load_target_settings, setting_names
from sdflow.errors import UsageError
from sdflow.evaluation.settings import EvaluateSettings


def _settings(**flags: object) -> EvaluateSettings:
    return load_target_settings(EvaluateSettings, {"src": "photos", **flags})


def test_the_direction_is_what_the_photos_are_for() -> None:
    assert _settings().task == "upscale"
    assert not _settings().has_truth
    assert _settings(shrink=True).has_truth
    assert _settings(reference="large").has_truth
    assert _settings(real_lr="phone").task == "downscale"


@pytest.mark.parametrize(
    ("taus", "expected"), [("0,0.8", (0, 0.8)), ("1", (1,)), ("0.5, 0,0.50", (0.5, 0))]
)
def test_temperatures_are_a_list_each_once(taus: str, expected: tuple[float, ...]) -> None:
    assert _settings(taus=taus).temperatures == expected


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"taus": "hot"}, "--taus: expected numbers like 0,0.8"),
        ({"taus": "0,1.2"}, "--taus: a temperature is from 0 to 1"),
        ({"taus": ""}, "--taus: expected numbers"),
        ({"samples": "0"}, "--samples"),
        ({"crop": "130"}, "--crop: .* multiple of 4"),
        ({"src": None}, "SRC"),
    ],
)
def test_wrong_flags_are_named(flags: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        _settings(**flags)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"shrink": True, "reference": "large"}, "--shrink makes SRC its own reference"),
        ({"real_lr": "phone", "shrink": True}, "leave one or the other out"),
        ({"real_lr": "phone", "reference": "large"}, "leave one or the other out"),
        ({"shrink": True, "lpips_heads": "a.pth"}, "both --lpips-backbone and --lpips-heads"),
        ({"lpips_backbone": "a.pth", "lpips_heads": "b.pth"}, "give --reference or --shrink"),
    ],
)
def test_what_does_not_go_together_is_refused(flags: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        _settings(**flags).check()


def test_variables_of_one_command_do_not_disturb_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDFLOW_TAUS", "0.3")
    assert _settings().temperatures == (0.3,)
    assert load_settings({"src": "a", "dst": "b"}).tau == 0.8
    monkeypatch.setenv("SDFLOW_REFERENZ", "large")
    with pytest.raises(UsageError, match="SDFLOW_REFERENZ in the environment is not a setting"):
        _settings()


def test_settings_of_all_commands_are_known_by_name() -> None:
    assert {*JobSettings.model_fields, *EvaluateSettings.model_fields} <= setting_names()
    assert "model_config" not in setting_names()
