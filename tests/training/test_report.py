"""The silent reporter."""

from lmkit.training.report import Reporter, Silent


def test_silent_passes_items_through_and_prints_nothing(capfd) -> None:
    """Items come as they are, one by one as needed; every report is accepted without output."""
    reporter: Reporter = Silent()
    taken: list[int] = []
    items = (taken.append(number) or number for number in range(3))
    passed = iter(reporter(items, total=3, label="reading"))
    assert next(passed) == 0
    assert taken == [0]
    assert list(passed) == [1, 2]
    reporter.start(None, "training")
    reporter.step(
        1,
        tokens=2,
        loss=3.0,
        loss_name="loss",
        grad_norm=4.0,
        learning_rate=5.0,
        tokens_per_second=6.0,
        seconds_left=None,
    )
    reporter.validation(1, 2.0, True)
    reporter.message("text")
    reporter.finish()
    assert capfd.readouterr() == ("", "")
