"""Configuration of the Jupyter server of the browser tests: a real login, and nobody's own settings."""

import os
from pathlib import Path

state = Path(os.environ["KOWALSKI_UI_STATE"])
for name in ("notebooks", "workspaces"):
    (state / name).mkdir(parents=True, exist_ok=True)

# No question about news in the corner of the screenshots.
settings = state / "settings" / "@jupyterlab" / "apputils-extension"
settings.mkdir(parents=True, exist_ok=True)
(settings / "notification.jupyterlab-settings").write_text('{"fetchNews": "false", "checkForUpdates": false}')

c = get_config()  # noqa: F821 (traitlets puts it there)
c.Kowalski.store = str(state / "runs.sqlite")
c.Kowalski.known_devices = str(state / "devices.json")
c.Application.log_level = "ERROR"
c.ServerApp.ip = "127.0.0.1"
c.ServerApp.port_retries = 0
c.ServerApp.open_browser = False
c.ServerApp.root_dir = str(state / "notebooks")
c.IdentityProvider.token = os.environ["KOWALSKI_UI_TOKEN"]
c.LabApp.expose_app_in_browser = True
c.LabApp.user_settings_dir = str(state / "settings")
c.LabApp.workspaces_dir = str(state / "workspaces")
c.LabApp.news_url = None
c.LabApp.check_for_updates_class = "jupyterlab.NeverCheckForUpdate"
c.LabApp.extension_manager = "readonly"
c.JupyterNotebookApp.expose_app_in_browser = True
