import { expect, test } from '@playwright/test';

import { answered, saved } from '../support/documents.js';
import { TOKEN } from '../support/places.js';
import { writeNotebook } from '../support/rest.js';

test('Notebook shows a run and the panel as JupyterLab does', async ({
  page
}) => {
  const path = await writeNotebook([saved(answered)]);
  await page.goto(`/notebooks/${path}?token=${TOKEN}`);
  const run = page.locator('.jp-Cell-outputArea .kowalski-run');
  await expect(run.getByLabel('Answer')).toContainText('412');
  await run
    .getByRole('treeitem', { name: /^Turn 1/ })
    .getByText('Turn 1')
    .click();
  await expect(run.getByText('I look at the notes first.')).toBeVisible();
  await page.keyboard.press('Control+Alt+k');
  const panel = page.getByRole('region', { name: 'Kowalski runs' });
  await expect(
    panel.getByRole('heading', { name: 'This machine' })
  ).toBeVisible();
  await page.screenshot({ path: 'test-results/notebook.png' });
});
