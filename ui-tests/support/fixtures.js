import { expect, test as base } from '@playwright/test';

import { openLab, setTheme, THEMES } from './lab.js';
import { JUPYTER_URL } from './places.js';
import { endKernels, forgetTheme, startKernel } from './rest.js';

/** What starts once for all tests, since it takes seconds. */
const shared = base.extend({
  /** The id of a kernel; tests that end theirs open a notebook without it. */
  kernel: [
    // eslint-disable-next-line no-empty-pattern -- it needs no other fixture
    async ({}, use) => {
      await use(await startKernel());
      await endKernels();
    },
    { scope: 'worker' }
  ],
  lab: [
    async ({ browser }, use) => {
      const page = await browser.newPage({
        baseURL: JUPYTER_URL,
        viewport: { width: 1280, height: 900 },
        permissions: ['clipboard-read', 'clipboard-write']
      });
      await openLab(page);
      await use(page);
      await page.close();
    },
    { scope: 'worker' }
  ]
});

/** Use a page and fail if it threw an error meanwhile. */
async function useWatched(page, use) {
  const errors = [];
  const note = error => errors.push(String(error));
  page.on('pageerror', note);
  await use(page);
  page.off('pageerror', note);
  expect(errors).toEqual([]);
}

/** Tests on a page of their own. */
export const test = shared.extend({
  page: async ({ page, kernel }, use) => {
    await forgetTheme();
    await useWatched(page, use);
    await page.close();
    await endKernels(kernel);
  }
});

/**
 * Tests that look at what a notebook shows, on one page with JupyterLab for all.
 *
 * They leave nothing behind but their notebook, which `openNotebook` closes: none of
 * them reloads the page, opens the panel or stands in for the server.
 */
export const viewTest = shared.extend({
  page: async ({ lab }, use) => {
    await setTheme(lab, THEMES[0]);
    await useWatched(lab, use);
  }
});

export { expect };
