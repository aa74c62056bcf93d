"""TensorBoard's page HPARAMS, read back through TensorBoard's own backend."""

from results.rows import EpochRow
from trainer.board import HPARAMS_METRICS, Board

COMMON = {"data": "digits", "epochs": 2, "dropout": None, "deterministic": True}
VARIED = {"ffn": "text", "ffn.fff.depth": "number", "ffn.mlp.hidden": "number", "lr": "number", "dropout": "text"}


def write(folder, flat, hparams, accuracy=0.5):
    board = Board(folder / "tensorboard", flat, 1, hparams=hparams)
    for epoch in (1, 2):
        board.add(
            EpochRow(
                epoch=epoch, train_loss=1.0, val_loss=0.5, val_acc=accuracy * epoch, lr=1e-3, train_seconds=1.0,
                val_seconds=0.1, images_per_second=10.0,
            )
        )  # fmt: skip
    board.close()


def read(folder):
    """The table of the page: its columns, its metrics, and for each trial by its name the values and the metrics."""
    from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
    from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
    from tensorboard.context import RequestContext
    from tensorboard.plugins.base_plugin import TBContext
    from tensorboard.plugins.hparams import api_pb2
    from tensorboard.plugins.hparams.backend_context import Context
    from tensorboard.plugins.hparams.list_session_groups import Handler

    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(folder)).Reload()
    provider = MultiplexerDataProvider(multiplexer, str(folder))
    backend = Context(TBContext(data_provider=provider))
    request = RequestContext()
    experiment = backend.experiment_from_metadata(
        request, "", True, backend.hparams_metadata(request, ""), backend.hparams_from_data_provider(request, "", None)
    )
    columns = [info.name for info in experiment.hparam_infos]
    asked = api_pb2.ListSessionGroupsRequest(
        start_index=0, slice_size=100, allowed_statuses=[api_pb2.STATUS_UNKNOWN, api_pb2.STATUS_RUNNING],
        aggregation_type=api_pb2.AGGREGATION_AVG,
        col_params=[
            *(api_pb2.ColParams(hparam=name) for name in columns),
            *(api_pb2.ColParams(metric=info.name) for info in experiment.metric_infos),
        ],
    )  # fmt: skip
    groups = Handler(request, backend, "", asked).run().session_groups
    values = {
        group.name: (
            {key: getattr(value, value.WhichOneof("kind")) for key, value in group.hparams.items()},
            {value.name.tag: value.value for value in group.metric_values},
        )
        for group in groups
    }
    return columns, [info.name.tag for info in experiment.metric_infos], values


def test_the_page_lists_what_the_search_varies_for_trials_of_every_kind_with_their_metrics(tmp_path):
    tree = {"ffn": "fff", "ffn.fff.depth": 3, "lr": 0.002, "seed": 0, **COMMON}
    dense = {"ffn": "mlp", "ffn.mlp.hidden": 8, "lr": 0.001, "seed": 0, **COMMON}
    write(tmp_path / "001-mlp-hidden=8-lr=0.001", dense, VARIED, 0.3)
    write(tmp_path / "002-fff-depth=3-lr=0.002", tree, VARIED, 0.4)
    columns, metrics, values = read(tmp_path)
    assert columns == ["dropout", "ffn", "lr", "ffn.fff.depth", "ffn.mlp.hidden"]  # what all kinds have comes first
    assert metrics == list(HPARAMS_METRICS)
    hparams, results = values["002-fff-depth=3-lr=0.002"]
    assert hparams == {"ffn": "fff", "ffn.fff.depth": 3.0, "lr": 0.002, "dropout": "none"}
    assert {name: round(value, 5) for name, value in results.items()} == {
        "val/accuracy": 0.8, "val/loss": 0.5, "train/loss": 1.0,
    }  # fmt: skip
    assert values["001-mlp-hidden=8-lr=0.001"][0]["ffn.mlp.hidden"] == 8.0
    assert len(values) == 2


def test_a_trial_that_stands_alone_lists_its_whole_dictionary(tmp_path):
    flat = {"ffn": "mlp", "ffn.mlp.hidden": 8, "lr": 0.001, "seed": 0, **COMMON}
    write(tmp_path / "001-mlp", flat, None)
    columns, _, values = read(tmp_path)
    assert sorted(columns) == sorted(flat)
    assert values["001-mlp"][0]["deterministic"] is True
    assert values["001-mlp"][0]["seed"] == 0.0
