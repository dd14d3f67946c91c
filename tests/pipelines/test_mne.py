"""Words as events with metadata for MNE: that every word keeps its row, and that a wrong table is named."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from lmkit.cli import cli
from lmkit.errors import DataError, UsageError
from lmkit.pipelines.mne import word_events

WORDS = ["the", "bad", "edge", "sat", "NA", "'on\"", "badly"]
ONSETS = [0.5, 1.0004, 1.5006, 2.25, 2.5, 3.0, 3.5]


def records(words: list[str] = WORDS) -> pd.DataFrame:
    """Records by word, with that of the line's end."""
    table: dict[str, list[Any]] = {
        "line": [1] * (len(words) + 1),
        "text": [*words, ""],
        "surprisal": [float(place) for place in range(len(words) + 1)],
    }
    return pd.DataFrame(table)


def onsets(words: list[str] = WORDS, times: list[Any] = ONSETS) -> pd.DataFrame:
    return pd.DataFrame({"word": words, "onset": times})


def test_events_and_metadata() -> None:
    """A sample is first_samp + onset x sfreq, rounded once; the metadata has a row for each word, and no line end."""
    events, metadata = word_events(records(), onsets(), 1000.0, first_samp=700, code=3)
    assert events.dtype == np.int64
    assert events[:, 0].tolist() == [1200, 1700, 2201, 2950, 3200, 3700, 4200]
    assert events[:, 1:].tolist() == [[0, 3]] * 7
    assert metadata["text"].tolist() == WORDS
    assert metadata["surprisal"].tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert metadata["onset"].tolist() == ONSETS
    assert metadata.index.tolist() == list(range(7))


@pytest.mark.parametrize("form", ["tsv", "parquet", "jsonl"])
def test_from_the_files_of_the_command(trained: Path, tmp_path: Path, form: str) -> None:
    """The file that `lmkit surprisal` wrote is read with its numbers; words such as NA and quotes stay as they are."""
    (tmp_path / "text.txt").write_text("the bad edge\nsat NA 'on\" badly\\\n", encoding="utf-8")
    out = tmp_path / f"words.{form}"
    done = CliRunner().invoke(
        cli,
        [
            "surprisal",
            str(trained),
            str(tmp_path / "text.txt"),
            "--spillover",
            "1",
            "--format",
            form,
            "--out",
            str(out),
        ],
    )
    assert done.exit_code == 0, done.output
    words = [*WORDS[:-1], "badly\\"]
    rows = [
        f'"{word.replace(chr(34), chr(34) * 2)}",{time}' for word, time in zip(words, ONSETS, strict=True)
    ]
    (tmp_path / "onsets.csv").write_text("word,onset\n" + "\n".join(rows), encoding="utf-8")
    events, metadata = word_events(out, str(tmp_path / "onsets.csv"), 100)
    assert len(events) == 7
    assert metadata["text"].tolist() == words
    assert metadata["line"].tolist() == [1, 1, 1, 2, 2, 2, 2]
    assert metadata["surprisal"].dtype == np.float64
    assert metadata["oov"].tolist() == [False, True, True, False, True, True, True]
    assert np.isnan(metadata["surprisal_1"][0])
    assert metadata["surprisal_1"][1] == metadata["surprisal"][0]


def test_a_word_without_an_onset_has_no_event() -> None:
    """Its row is compared, and left out of the events and of the metadata."""
    for missing in (None, "", float("nan")):
        events, metadata = word_events(records(), onsets(times=[*ONSETS[:3], missing, *ONSETS[4:]]), 100)
        assert len(events) == 6
        assert metadata["text"].tolist() == [word for word in WORDS if word != "sat"]


def test_words_are_compared_as_asked() -> None:
    """normalize: for aligners that lower the case and drop punctuation."""
    scored = records(["The", "dog,"])
    with pytest.raises(
        DataError, match="onsets, row 1: the word is 'the', but word 1 of the records is 'The'"
    ):
        word_events(scored, onsets(["the", "dog"], [0.1, 0.2]), 100)
    events, metadata = word_events(
        scored, onsets(["the", "dog"], [0.1, 0.2]), 100, normalize=lambda word: word.lower().strip(",")
    )
    assert (len(events), metadata["text"].tolist()) == (2, ["The", "dog,"])


@pytest.mark.parametrize(
    ("words", "times", "message"),
    [
        (["the", "bed", *WORDS[2:]], ONSETS, "onsets, row 2: the word is 'bed', but word 2 of the records is 'bad'"),
        (WORDS[:-1], ONSETS[:-1], "records, word 7: 'badly' has no counterpart \\(7 words in the records, 6"),
        ([*WORDS, "more"], [*ONSETS, 4], "onsets, row 8: 'more' has no counterpart"),
        (WORDS, [*ONSETS[:2], "x", *ONSETS[3:]], "onsets, row 3: the onset is 'x', not a number of seconds"),
        (WORDS, [-0.1, *ONSETS[1:]], "onsets, row 1: the onset is -0.1, not a number"),
        (WORDS, [*ONSETS[:2], 0.9, *ONSETS[3:]], "row 3: 'edge' begins at 0.9 s, before the previous word at 1.0004"),
        (
            WORDS,
            [*ONSETS[:2], 1.002, *ONSETS[3:]],
            "onsets, rows 2 and 3: 'bad' and 'edge' fall on the same sample, 100;",
        ),
    ],
)  # fmt: skip
def test_a_wrong_table_is_named(words: list[str], times: list[Any], message: str) -> None:
    """Each error has the first row that differs and what to do."""
    with pytest.raises(DataError, match=message):
        word_events(records(), onsets(words, times), 100)


def test_what_is_refused() -> None:
    """Columns that are missing or there twice, and a frequency that is none."""
    with pytest.raises(UsageError, match="the onsets have no column 'begin'; they have word, onset"):
        word_events(records(), onsets(), 100, onset="begin")
    with pytest.raises(UsageError, match="the records have no column 'text'"):
        word_events(onsets(), onsets(), 100)
    with pytest.raises(UsageError, match="the records have a column 'onset' already"):
        word_events(records().assign(onset=0), onsets(), 100)
    for sfreq in (0, -1, float("nan")):
        with pytest.raises(UsageError, match="give the samples a second"):
            word_events(records(), onsets(), sfreq)


@pytest.mark.pipelines
def test_epochs_keep_every_word() -> None:
    """MNE makes an epoch of each word, among them those that as annotations would mark bad data and boundaries."""
    mne = pytest.importorskip("mne", reason="needs MNE: pip install mne")
    sfreq, first = 1000.0, 700
    samples = np.zeros((1, 5000))
    events, metadata = word_events(records(), onsets(), sfreq, first_samp=first)
    samples[0, events[:, 0] - first] = metadata["surprisal"]
    raw = mne.io.RawArray(samples, mne.create_info(["a"], sfreq, "eeg"), first_samp=first, verbose="error")
    epochs = mne.Epochs(
        raw, events, metadata=metadata, tmin=-0.1, tmax=0.1, baseline=None, preload=True, verbose="error"
    )
    assert len(epochs) == len(WORDS)
    assert epochs.metadata["text"].tolist() == WORDS
    assert epochs.get_data()[:, 0, 100].tolist() == epochs.metadata["surprisal"].tolist()
    assert len(epochs["surprisal > 2"]) == 4
    # The reason for events: as annotations, these words reject the epochs around them.
    raw.set_annotations(mne.Annotations(np.array(ONSETS) + first / sfreq, 0.05, WORDS))
    found, _ = mne.events_from_annotations(raw, verbose="error")
    assert len(found) < len(WORDS)
