/** What the tests ask of the Jupyter server themselves, beside the page. */
import { JUPYTER_URL, TOKEN } from './places.js';

let notebooks = 0;

/** Ask the server; returns what it sends, or null where that is nothing. */
async function ask(method, path, body) {
  const response = await fetch(`${JUPYTER_URL}/${path}`, {
    method,
    headers: { Authorization: `token ${TOKEN}` },
    ...(body && { body: JSON.stringify(body) })
  });
  if (!response.ok) {
    throw new Error(`${method} ${path}: ${await response.text()}`);
  }
  return response.status === 204 ? null : response.json();
}

/** Start a kernel without a notebook; returns its id. */
export async function startKernel() {
  const { id } = await ask('POST', 'api/kernels', { name: 'python3' });
  return id;
}

/** The ids of all kernels. */
export async function runningKernels() {
  const kernels = await ask('GET', 'api/kernels');
  return kernels.map(({ id }) => id);
}

/** End all kernels but these. */
export async function endKernels(...kept) {
  for (const id of await runningKernels()) {
    if (!kept.includes(id)) {
      await ask('DELETE', `api/kernels/${id}`);
    }
  }
}

/** Write a notebook, given its code cells or whole cells; returns its path. */
export async function writeNotebook(cells) {
  notebooks += 1;
  const path = `test-${process.env.TEST_WORKER_INDEX}-${notebooks}.ipynb`;
  await ask('PUT', `api/contents/${path}`, {
    type: 'notebook',
    format: 'json',
    content: {
      cells: cells.map((cell, index) => ({
        cell_type: 'code',
        id: `cell-${index}`,
        metadata: {},
        outputs: [],
        execution_count: null,
        source: '',
        ...(typeof cell === 'string' ? { source: cell } : cell)
      })),
      metadata: { kernelspec: { name: 'python3', display_name: 'Python 3' } },
      nbformat: 4,
      nbformat_minor: 5
    }
  });
  return path;
}

/** Let a notebook that is opened from now on use a kernel that runs. */
export async function useKernel(path, kernel) {
  await ask('POST', 'api/sessions', {
    path,
    name: path,
    type: 'notebook',
    kernel: { id: kernel }
  });
}

/** Undo what `setTheme` made the server remember. */
export async function forgetTheme() {
  const path = 'lab/api/settings/@jupyterlab/apputils-extension:themes';
  await ask('PUT', path, { raw: '{}' });
}
