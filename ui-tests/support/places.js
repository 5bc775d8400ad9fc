/** Where the servers of the tests listen. */

export const JUPYTER_PORT = process.env.KOWALSKI_UI_PORT ?? '8951';
export const JUPYTER_URL = `http://127.0.0.1:${JUPYTER_PORT}`;

export const MODEL_PORT = process.env.KOWALSKI_UI_MODEL_PORT ?? '8952';
export const MODEL_URL = `http://127.0.0.1:${MODEL_PORT}`;

/** Where the simulated cluster's first device is, while there is one. */
export const CLUSTER_PORT = process.env.KOWALSKI_UI_CLUSTER_PORT ?? '8953';
export const CLUSTER_URL = `http://127.0.0.11:${CLUSTER_PORT}`;

/** The login token of the Jupyter server. */
export const TOKEN = 'ui-tests';
