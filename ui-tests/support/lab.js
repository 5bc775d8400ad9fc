import { randomUUID } from 'node:crypto';

import { expect } from '@playwright/test';

import { TOKEN } from './places.js';
import { useKernel, writeNotebook } from './rest.js';

export const THEMES = ['JupyterLab Light', 'JupyterLab Dark'];

/** The address of a workspace that nobody else uses, logged in. */
const workspace = (path = '') =>
  `/lab/workspaces/${randomUUID()}${path}?token=${TOKEN}`;

/** Open JupyterLab with nothing in it, and wait until it is ready. */
export async function openLab(page) {
  await page.goto(workspace());
  await ready(page);
}

/**
 * Write a notebook with these cells, open it alone, and wait for its kernel.
 *
 * JupyterLab opens with it, or else has it in the place of what was open.
 * `kernel` is the id of one that runs; without it a new one is started.
 */
export async function openNotebook(page, cells, kernel) {
  const path = await writeNotebook(cells);
  if (kernel) {
    await useKernel(path, kernel);
  }
  if (page.url() === 'about:blank') {
    await page.goto(workspace(`/tree/${path}`));
  } else {
    await execute(page, 'docmanager:open', { path });
    await closeAllBut(page, path);
  }
  await ready(page);
  await kernelIs(page, 'idle');
}

/**
 * Wait until the application has opened all that it opens by itself.
 *
 * It says `restored` earlier: the document of the address, or the launcher where
 * there is none, comes once the files are listed, and takes the focus.
 */
export async function ready(page) {
  await page.waitForFunction(() => window.jupyterapp);
  await page.evaluate(() => window.jupyterapp.restored);
  await page.waitForFunction(
    () =>
      document.querySelector('.jp-mod-restoring') === null &&
      window.jupyterapp.shell.currentWidget?.node.contains(
        document.activeElement
      )
  );
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

/** Close all documents but one without asking whether to save them. */
async function closeAllBut(page, path) {
  await page.evaluate(kept => {
    for (const widget of [...window.jupyterapp.shell.widgets('main')]) {
      if (widget.context?.path !== kept) {
        widget.dispose();
      }
    }
  }, path);
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
