import { expect, test as base } from '@playwright/test';

import { closeAll, openLab, startKernel } from './lab.js';
import { JUPYTER_URL } from './places.js';

/**
 * Tests on one page with JupyterLab and one kernel, started once for all of them.
 *
 * Each test begins with no document open, and fails if the page threw an error.
 */
export const test = base.extend({
  lab: [
    async ({ browser }, use) => {
      // A context of its own: axe opens a second page in it.
      const context = await browser.newContext({
        baseURL: JUPYTER_URL,
        viewport: { width: 1280, height: 900 },
        permissions: ['clipboard-read', 'clipboard-write']
      });
      const page = await context.newPage();
      await openLab(page);
      await use({ page, kernel: await startKernel(page) });
      await context.close();
    },
    { scope: 'worker' }
  ],
  kernel: async ({ lab }, use) => {
    await use(lab.kernel);
  },
  page: async ({ lab }, use) => {
    const { page } = lab;
    const errors = [];
    const note = error => errors.push(String(error));
    page.on('pageerror', note);
    // axe's second page was in front: what is behind has no focus and is drawn late.
    await page.bringToFront();
    await use(page);
    page.off('pageerror', note);
    await closeAll(page);
    expect(errors).toEqual([]);
  }
});

export { expect };
