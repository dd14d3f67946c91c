"""`lmkit generate` and `lmkit eval`: what they ask of the model and what they print."""

import json


def test_generate_grows_the_options_of_its_decoder(lmkit, api):
    """--decoder decides which options the line has; sample is the default."""
    result = lmkit("generate", "run", "--prompt", "Hello", "--temperature", 0.8, "--num", 2, "--seed", 3)
    assert result.stdout == "Hello world\nHello world\n"
    assert (api.last.decoder.name, api.last.decoder.options.temperature) == ("lmkit:sample", 0.8)
    assert (api.last.num, api.last.seed, api.last.max_tokens) == (2, 3, 50)
    refused = lmkit("generate", "run", "--decoder", "greedy", "--temperature", 0.8)
    assert (refused.exit_code, "No such option '--temperature'" in refused.stderr) == (2, True)


def test_generate_json_has_the_log_probability(lmkit):
    """--json is a list of texts with their log-probabilities."""
    assert json.loads(lmkit("generate", "run", "--json").stdout) == [
        {"prompt": "", "text": " world", "log_prob": -1.5}
    ]


def test_generate_help_lists_the_decoder(lmkit):
    """The decoder's options have a section, and the other decoders are named."""
    text = lmkit("generate", "--help").stdout
    assert "Options of decoder sample:" in text
    assert "Decoders: greedy, sample." in text


def test_eval_passes_the_data_options(lmkit, api, tmp_path):
    """The options of reading are eval's too."""
    path = tmp_path / "a.txt"
    path.write_bytes(b"caf\xe9\n")
    result = lmkit("eval", "run", path, path, "--encoding", "latin-1", "--batch-size", 4)
    assert result.stdout == "perplexity  9.500\n"
    assert (api.last.lines, api.last.batch_size) == (["café", "café"], 4)
    line = ("eval", "run", path, "--encoding", "latin-1", "--json")
    assert json.loads(lmkit(*line).stdout) == {"perplexity": 9.5}
    assert lmkit("eval", "run", path).exit_code == 3


def test_eval_needs_text(lmkit):
    """A score without text is a usage error."""
    assert lmkit("eval", "run").exit_code == 2
