"""Flower's second door: settings -> initial model -> strategy -> report."""

from logging import ERROR, INFO
from pathlib import Path
from uuid import uuid4

import numpy as np
from flwr.app import Context
from flwr.common.logger import log
from flwr.serverapp import Grid, ServerApp

from fedklpr_flwr.config.compose import load_settings, settings_to_dict
from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.errors import FedKlprError, RunError
from fedklpr_flwr.launch.command_line import resume_word
from fedklpr_flwr.model.shared_model import initial_network, shared_layout
from fedklpr_flwr.protocol.update_codec import quantise_downlink
from fedklpr_flwr.reid.network import float_state
from fedklpr_flwr.report.summary import write_report
from fedklpr_flwr.report.wandb_log import WandbLog
from fedklpr_flwr.runs.checkpoint import RunFolder, ServerState
from fedklpr_flwr.runs.continued_run import begin_from, check_continued
from fedklpr_flwr.runs.resume_checks import check_resumed
from fedklpr_flwr.runs.rows import away_at_the_end, keep_finished_rounds, read_rows
from fedklpr_flwr.runs.trusted_runs import write_own_settings
from fedklpr_flwr.strategy import FedKlprStrategy
from fedklpr_flwr.system.paths import new_run_folder, point_latest

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run a whole federation; whatever goes wrong is in the run folder's status.json."""
    settings = load_settings(context.run_config)
    folder = RunFolder(_run_folder(settings))
    path = folder.path
    try:
        if settings.resume is not None:
            check_resumed(settings, path)
        elif folder.has_state:
            raise RunError(f"{path} already holds a run: go on with {resume_word(path)}")
        if settings.run.continues is not None and not folder.has_state:
            check_continued(settings, Path(settings.run.continues))
    except FedKlprError:
        folder.close()  # what is refused changes nothing, the status least of all
        raise
    try:
        folder.write_status("running")
        point_latest(path)
        run_federation(grid, settings, folder, str(context.run_config.get("overrides", "")))
        folder.write_status("finished", away_at_the_end(read_rows(folder.rows_file)))
        log(INFO, "finished; results are in %s", path)
    except BaseException as error:
        folder.write_status("failed", _reason(error))
        log(ERROR, "%s", _reason(error))
        raise
    finally:
        folder.close(done=True)


def _run_folder(settings: Settings) -> Path:
    chosen = settings.resume or settings.run.dir
    if chosen is not None:
        return Path(chosen)
    return new_run_folder(Path.cwd() / "runs", settings.experiment, settings.method.name)


def run_federation(grid: Grid, settings: Settings, folder: RunFolder, overrides: str = "") -> None:
    """All rounds that are still to run, then the report.

    Args:
        grid: Flower's grid.
        settings: the run's settings.
        folder: the open run folder.
        overrides: what the settings were composed with, for commands that are shown.
    """
    write_own_settings(settings, folder.path)
    state = open_state(settings, folder)
    written = keep_finished_rounds(folder.rows_file, state.round)
    curves = WandbLog(settings.report.wandb, folder.path, settings_to_dict(settings), state.run)
    try:
        FedKlprStrategy(settings, folder, state, written, curves.log, overrides).start(grid)
    finally:
        curves.close()
    write_report(folder.path)


def open_state(settings: Settings, folder: RunFolder) -> ServerState:
    """The federation as its folder left it; else the run before, or a new one, as round 0."""
    if folder.has_state:
        return folder.load_state()
    if settings.run.continues is not None:
        return begin_from(Path(settings.run.continues), settings, folder)
    network = initial_network(settings, pretrained=True)
    values = float_state(network)
    tensors = {
        spec.name: np.ascontiguousarray(values[spec.name].numpy())
        for spec in shared_layout(settings)
    }
    sent, residual = quantise_downlink(tensors, {}, settings.wire.whole)
    state = ServerState(uuid4().hex[:16], 0, tensors, sent, residual)
    folder.commit(state, [])
    return state


def _reason(error: BaseException) -> str:
    """A known fault in its own words, any other with its kind."""
    if isinstance(error, FedKlprError):
        return str(error)
    if isinstance(error, KeyboardInterrupt):
        return "stopped by hand"
    return f"{type(error).__name__}: {error}"
