import json

import pytest


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """The config.json of a Llama of one small layer."""
    path = tmp_path_factory.mktemp("tiny") / "config.json"
    shape = {
        "model_type": "llama",
        "hidden_size": 256,
        "intermediate_size": 512,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 512,
        "tie_word_embeddings": True,
    }
    path.write_text(json.dumps(shape))
    return str(path)
