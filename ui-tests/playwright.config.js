import path from 'node:path';

import { defineConfig } from '@playwright/test';

import {
  CLUSTER_URL,
  JUPYTER_PORT,
  JUPYTER_URL,
  MODEL_PORT,
  MODEL_URL,
  TOKEN
} from './support/places.js';

const root = path.resolve(import.meta.dirname, '..');

/** What the Jupyter server writes; emptied with the other artefacts at each start. */
const state = path.join(import.meta.dirname, 'test-results', 'jupyter');

/** Where `jupyter` and `python` lie, if not on the path. */
const bin = process.env.KOWALSKI_PYTHON_BIN;

const env = {
  ...process.env,
  ...(bin && { PATH: `${bin}${path.delimiter}${process.env.PATH}` }),
  KOWALSKI_URL: MODEL_URL,
  KOWALSKI_DEVICES: CLUSTER_URL,
  KOWALSKI_UI_TOKEN: TOKEN,
  JUPYTER_CONFIG_DIR: path.join(state, 'config'),
  JUPYTER_DATA_DIR: path.join(state, 'data'),
  IPYTHONDIR: path.join(state, 'ipython'),
  KOWALSKI_UI_STATE: state
};

const chromium = process.env.CHROMIUM ?? '/usr/bin/chromium';

export default defineConfig({
  testDir: 'tests',
  // Screenshots; emptied at each start.
  outputDir: 'test-results',
  // One Jupyter server, whose runs the panel lists: tests go one after another.
  workers: 1,
  // A machine that is busy with other things may take several times as long.
  timeout: 240_000,
  expect: { timeout: 60_000 },
  forbidOnly: Boolean(process.env.CI),
  reporter: [['list']],
  use: {
    baseURL: JUPYTER_URL,
    viewport: { width: 1280, height: 900 },
    permissions: ['clipboard-read', 'clipboard-write'],
    // Traces double the time. To look into a failure: `--trace retain-on-failure`.
    screenshot: 'only-on-failure',
    launchOptions: {
      executablePath: chromium,
      args: ['--disable-gpu', '--disable-dev-shm-usage']
    }
  },
  webServer: [
    {
      command: `python -m tests.support.scripted_server --port ${MODEL_PORT} --script ui-tests/support/replies.json --model scripted`,
      cwd: root,
      env,
      url: `${MODEL_URL}/stats`,
      timeout: 120_000
    },
    {
      command: `jupyter lab --config ui-tests/support/jupyter_config.py --allow-root --ServerApp.port=${JUPYTER_PORT}`,
      cwd: root,
      env,
      url: `${JUPYTER_URL}/api`,
      timeout: 120_000,
      gracefulShutdown: { signal: 'SIGTERM', timeout: 60_000 }
    }
  ]
});
