import { expect } from '@playwright/test';

import { TOKEN } from './places.js';

export const THEMES = ['JupyterLab Light', 'JupyterLab Dark'];

let notebooks = 0;

/** Open JupyterLab in an empty workspace, logged in, and wait until it is ready. */
export async function openLab(page) {
  await page.goto(`/lab?reset&token=${TOKEN}`);
  await ready(page);
}

/** Wait until the application has restored its layout. */
export async function ready(page) {
  await page.waitForFunction(() => window.jupyterapp);
  await page.evaluate(() => window.jupyterapp.restored);
}

/** Run a command of the application and wait for its end. */
export function execute(page, command, args = {}) {
  return page.evaluate(
    async ([id, options]) => {
      await window.jupyterapp.commands.execute(id, options);
    },
    [command, args]
  );
}

/** Start a kernel without a notebook; returns its id. */
export function startKernel(page) {
  return page.evaluate(async () => {
    const { kernels } = window.jupyterapp.serviceManager;
    const kernel = await kernels.startNew({ name: 'python3' });
    return kernel.id;
  });
}

/** Write a notebook, given its code cells or whole cells; returns its path. */
export async function writeNotebook(page, cells) {
  notebooks += 1;
  const path = `test-${notebooks}.ipynb`;
  const content = {
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
  };
  await page.evaluate(
    ([name, notebook]) =>
      window.jupyterapp.serviceManager.contents.save(name, {
        type: 'notebook',
        format: 'json',
        content: notebook
      }),
    [path, content]
  );
  return path;
}

/**
 * Write a notebook with these cells, open it, and wait for its kernel.
 *
 * `kernel` is the id of one that runs; without it a new one is started.
 */
export async function openNotebook(page, cells, kernel) {
  const path = await writeNotebook(page, cells);
  // A page that was reloaded opens the document of its address late: after the last test.
  await closeAll(page);
  const args = { path, ...(kernel && { kernel: { id: kernel } }) };
  await execute(page, 'docmanager:open', args);
  await kernelIs(page, 'idle');
  return path;
}

/** The notebook in front. */
export function notebook(page) {
  return page.locator('.jp-NotebookPanel:not(.lm-mod-hidden)');
}

/** The output area of a cell, counted from 0. */
export function output(page, index) {
  return notebook(page)
    .locator('.jp-CodeCell')
    .nth(index)
    .locator('.jp-Cell-outputArea');
}

/** Wait for the kernel of the notebook in front to be idle or busy. */
export async function kernelIs(page, status) {
  await page.waitForFunction(
    wanted =>
      window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel
        ?.status === wanted,
    status
  );
}

/** End the kernel of the notebook in front; returns its id. */
export function shutDownKernel(page) {
  return page.evaluate(async () => {
    const { sessionContext } = window.jupyterapp.shell.currentWidget;
    const { id } = sessionContext.session.kernel;
    await sessionContext.shutdown();
    return id;
  });
}

/** The ids of all kernels of the server. */
export function runningKernels(page) {
  return page.evaluate(async () => {
    const { kernels } = window.jupyterapp.serviceManager;
    await kernels.refreshRunning();
    return Array.from(kernels.running(), ({ id }) => id);
  });
}

/** Start a cell, counted from 0, and do not wait for its end. */
export async function startCell(page, index) {
  await page.evaluate(wanted => {
    const { shell, commands } = window.jupyterapp;
    shell.currentWidget.content.activeCellIndex = wanted;
    void commands.execute('notebook:run-cell');
  }, index);
}

/** Run a cell, counted from 0, and wait for its end. */
export async function runCell(page, index) {
  await page.evaluate(async wanted => {
    const { shell, commands } = window.jupyterapp;
    shell.currentWidget.content.activeCellIndex = wanted;
    await commands.execute('notebook:run-cell');
  }, index);
}

/** Change to a theme and wait for it. */
export async function setTheme(page, theme) {
  await execute(page, 'apputils:change-theme', { theme });
  await page.waitForFunction(
    wanted => document.body.dataset.jpThemeName === wanted,
    theme
  );
  await expect(page.locator('#jupyterlab-splash')).toHaveCount(0);
}

/** Close all documents without asking whether to save them. */
export async function closeAll(page) {
  await page.evaluate(() => {
    for (const widget of [...window.jupyterapp.shell.widgets('main')]) {
      widget.dispose();
    }
  });
}
