"""The service: one daemon after the other in the same process, until it is told to stop.

What it promises: READY=1 when the inboxes are watched and the port is bound. The watchdog runs from the first daemon's
start to the end. The lock and the port are taken once, and kept through reloads (`reload`).

The main thread is in here all the time. A crash is a restart.
"""

from __future__ import annotations

import os
from collections.abc import Callable, MutableMapping

from receipt_watcher.config.options import Config
from receipt_watcher.config.sources.record import ConfigurationRecord
from receipt_watcher.config.sources.running import RunningConfigurationFile
from receipt_watcher.service.daemon_parts import RunOptions
from receipt_watcher.service.process.held_resources import HeldResources
from receipt_watcher.service.process.launcher import Launcher
from receipt_watcher.service.process.reload import Reload, ReloadOutcomes
from receipt_watcher.service.process.signals import StopSignal
from receipt_watcher.service.systemd import handed_over, systemd_of
from receipt_watcher.system.runtime_dir import runtime_folder


def run(
    config: Config,
    stop: StopSignal,
    reread: Callable[[], Config],
    record: ConfigurationRecord,
    environ: MutableMapping[str, str],
    *,
    take_over: bool,
    accept_backlog: bool,
) -> bool:
    """Run until `stop` is set; return whether every thread ended by itself.

    `reread` reads the configuration again, for a reload; `record` keeps for the commands what is in force. What systemd
    says in `environ` is taken out of it.

    Raises:
        ReceiptWatcherError: it could not be started.
    """
    systemd = systemd_of(environ, os.getpid())
    resources = HeldResources(config.state_dir, handed_over(environ, os.getpid()))
    launcher = Launcher(systemd, resources, config.logging)
    launcher.run_watchdog()
    try:
        resources.take(config.http)  # with the lock: the outcomes below are this process's own from now on
        folder = runtime_folder(config.state_dir, environ)
        record.keep_in(RunningConfigurationFile(folder), resources.installation)
        reload = Reload(launcher, stop, reread, ReloadOutcomes(folder), record)
        daemon = launcher.built(config, RunOptions(take_over=take_over, accept_backlog=accept_backlog))
        record.write(config)
        launcher.start(daemon, is_first=True)
        while not stop.wait():
            stop.forget_reload()
            daemon = reload.run(daemon)
        return launcher.stop(daemon)
    finally:
        launcher.watchdog.stop()
        record.remove()
        resources.release()
