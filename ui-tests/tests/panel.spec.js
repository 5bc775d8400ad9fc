import { expectAccessible } from '../support/axe.js';
import { expect, test } from '../support/fixtures.js';
import { execute, openLab, setTheme, THEMES } from '../support/lab.js';
import { fakeServer, RUNS, status, summary } from '../support/server.js';

const panelOf = page => page.getByRole('region', { name: 'Kowalski runs' });

/** Open Lab against a stand-in of the server extension, and the panel in it. */
async function openPanel(page, first) {
  const server = await fakeServer(page, first);
  await openLab(page);
  await execute(page, 'kowalski:open-panel');
  return server;
}

test('tells runs, model and machine, in both themes', async ({ page }) => {
  await openPanel(page);
  const panel = panelOf(page);
  const runs = panel.getByRole('listitem');
  await expect(runs).toHaveCount(RUNS.length);
  await expect(runs.nth(0)).toContainText('Running');
  await expect(runs.nth(0)).toContainText('turn 2 of 12');
  await expect(runs.nth(0)).toContainText('11 sub-calls');
  await expect(runs.nth(1)).toContainText(
    "['heating', 'parking', 'the canteen']"
  );
  await expect(runs.nth(2)).toContainText('does not answer');
  await expect(panel).toContainText('this machine (embedded)');
  await expect(panel.getByRole('meter', { name: 'Processor' })).toHaveAttribute(
    'aria-valuenow',
    '63'
  );
  await expect(panel.getByRole('meter', { name: 'Memory' })).toHaveAttribute(
    'aria-valuetext',
    '6.5 of 24.0 GB'
  );
  await expect(page.locator('.kowalski-status-item')).toHaveText('1 run');
  for (const theme of THEMES) {
    await setTheme(page, theme);
    await page.screenshot({ path: `test-results/panel-${theme}.png` });
    await expectAccessible(page, '#kowalski-panel', '.kowalski-status-item');
  }

  // The clock goes on between two messages.
  const clock = runs.nth(0).locator('.kowalski-status > :last-child');
  const before = await clock.textContent();
  await expect(clock).not.toHaveText(before);
});

test('shows one run in full', async ({ page }) => {
  await openPanel(page);
  const panel = panelOf(page);
  const runs = panel.getByRole('listitem');
  await runs.nth(1).getByRole('button').click();
  await expect(panel.getByLabel('Answer')).toContainText('412');
  await panel
    .getByRole('treeitem', { name: /^Turn 2/ })
    .getByText('Turn 2')
    .click();
  await page.screenshot({ path: 'test-results/panel-details.png' });
  await expectAccessible(page, '#kowalski-panel');
  await panel.getByRole('button', { name: 'All runs' }).click();
  await expect(runs).toHaveCount(RUNS.length);
});

test('cancels a run, and teaches when there is none', async ({ page }) => {
  const server = await openPanel(page);
  const panel = panelOf(page);
  await panel.getByRole('button', { name: /^Cancel the run/ }).click();
  await expect(panel.getByText('Stopping …')).toBeVisible();
  expect(server.cancelled).toEqual(['r-1']);
  await server.send(status({ runs: [summary({ state: 'cancelled' })] }));
  await expect(panel.getByText('Cancelled')).toBeVisible();
  await expect(panel.getByText('Stopping …')).toHaveCount(0);

  // From the palette: the newest that goes on.
  await server.send(status({ runs: [RUNS[1], summary({ id: 'r-9' })] }));
  await execute(page, 'kowalski:cancel-run');
  expect(server.cancelled).toEqual(['r-1', 'r-9']);

  await server.send(status({ runs: [], model: null }));
  await expect(panel.getByText('%load_ext kowalski_jupyter')).toBeVisible();
  await expect(page.locator('.kowalski-status-item')).toBeHidden();
  await page.screenshot({ path: 'test-results/panel-empty.png' });
  await expectAccessible(page, '#kowalski-panel');
});

test('keeps the last picture when the connection is lost, and comes back', async ({
  page
}) => {
  const server = await openPanel(page);
  const panel = panelOf(page);
  await expect(panel.getByRole('listitem')).toHaveCount(RUNS.length);
  server.refuse(503);
  await server.drop();
  await expect(panel.getByText('this is the last picture')).toBeVisible();
  await expect(panel.getByRole('listitem')).toHaveCount(RUNS.length);
  await page.screenshot({ path: 'test-results/panel-lost.png' });
  server.refuse(0);
  await expect(panel.getByText('this is the last picture')).toHaveCount(0);
  await expect.poll(() => server.sockets.length).toBe(1);
});

test('says which half is missing and how to load it', async ({ page }) => {
  await page.route(/\/kowalski\/api\//, route =>
    route.fulfill({ status: 404, json: {} })
  );
  await openLab(page);
  await execute(page, 'kowalski:open-panel');
  const panel = panelOf(page);
  await expect(
    panel.getByText('jupyter server extension enable kowalski_jupyter')
  ).toBeVisible();
  await page.screenshot({ path: 'test-results/panel-missing.png' });
  await expectAccessible(page, '#kowalski-panel');
});

test('is connected only while it is visible', async ({ page }) => {
  const server = await openPanel(page);
  await expect.poll(() => server.sockets.length).toBe(1);
  await execute(page, 'application:toggle-right-area');
  await expect.poll(() => server.sockets.length).toBe(0);
  // The shortcut shows it again.
  await page.keyboard.press('Control+Alt+k');
  await expect(panelOf(page)).toBeFocused();
  await expect.poll(() => server.sockets.length).toBe(1);
});
