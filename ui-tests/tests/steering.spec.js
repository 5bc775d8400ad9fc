/** What the user can do with a run from the panel, against a stand-in of the server. */
import { expectAccessible } from '../support/axe.js';
import { folded, run, waiting } from '../support/documents.js';
import { expect, test } from '../support/fixtures.js';
import { execute, openLab, setTheme, THEMES } from '../support/lab.js';
import { fakeServer, RUNS, status, summary } from '../support/server.js';

const CHILDREN = [
  summary({ id: 'r-1-2', parent: 'r-1', question: 'How many in June?' }),
  summary({
    id: 'r-1-1',
    parent: 'r-1',
    state: 'done',
    question: 'How many in May?',
    answer: '203'
  })
];

/** Open Lab against a stand-in of the server extension; returns it and the panel. */
async function openPanel(page, runs, documents = {}) {
  const server = await fakeServer(page, status({ runs }));
  server.documents = documents;
  await openLab(page);
  await execute(page, 'kowalski:open-panel');
  return {
    server,
    panel: page.getByRole('region', { name: 'Kowalski runs' })
  };
}

/** Open Lab, the panel, and in it the details of a run with this document. */
async function openRun(page, document) {
  const { server, panel } = await openPanel(
    page,
    [summary({ id: document.id })],
    { [document.id]: document }
  );
  await execute(page, 'kowalski:open-panel', { run: document.id });
  await expect(
    panel.getByRole('region', { name: `Run ${document.id}` }).first()
  ).toBeVisible();
  return { server, panel };
}

/** Let the server tell that something about its runs has changed. */
const change = (server, document) => {
  server.documents = { [document.id]: document };
  return server.send(status({ runs: [summary({ id: document.id })] }));
};

test('a block that waits is shown, in both themes', async ({ page }) => {
  const { panel } = await openRun(page, waiting);
  const block = panel.getByRole('region', {
    name: 'Block 2.1 waits for your word'
  });
  await expect(block).toContainText('llm_query_batched');
  await expect(panel.locator('.kowalski-status')).toContainText(
    'Waits for you'
  );
  await expect(
    panel.getByRole('treeitem', { name: /^Cell 2\.1 python · waits for you/ })
  ).toBeVisible();
  for (const theme of THEMES) {
    await setTheme(page, theme);
    await page.screenshot({ path: `test-results/steering-${theme}.png` });
    await expectAccessible(page, '#kowalski-panel');
  }
});

test('a block that waits is run, edited or skipped', async ({ page }) => {
  const { server, panel } = await openRun(page, waiting);
  const block = panel.getByRole('region', {
    name: 'Block 2.1 waits for your word'
  });
  // Edited, by keyboard; a refusal is told and the text is kept.
  server.objection = 'An edit needs the code to run instead.';
  await block.getByRole('button', { name: 'Edit' }).click();
  const editor = block.getByRole('textbox', { name: 'Code of block 2.1' });
  await expect(editor).toBeFocused();
  await expect(editor).toHaveValue(waiting.approval.code);
  await editor.fill('FINAL(7)');
  await page.keyboard.press('Control+Enter');
  await expect(block.getByRole('alert')).toHaveText(server.objection);
  await expect(editor).toHaveValue('FINAL(7)');
  await page.screenshot({ path: 'test-results/steering-editing.png' });
  await expectAccessible(page, '#kowalski-panel');
  await page.keyboard.press('Escape');
  await expect(block.getByRole('button', { name: 'Edit' })).toBeFocused();
  await page.keyboard.press('Enter');
  server.objection = null;
  await editor.press('Control+Enter');
  await expect(block.getByRole('button', { name: 'Run this' })).toBeDisabled();
  expect(server.steered).toEqual(
    Array(2).fill({ decide: 'edit', cell: '2.1', code: 'FINAL(7)' })
  );

  // The next block is another one: nothing of the first is left.
  const approval = { cell: '3.1', language: 'python', code: 'print(1)' };
  await change(server, run({ ...waiting, approval }));
  const next = panel.getByRole('region', {
    name: 'Block 3.1 waits for your word'
  });
  // Whoever had the focus in the first is still in the panel.
  await expect(next).toBeVisible();
  await expect(page.locator('#kowalski-panel')).toBeFocused();
  await next.getByRole('button', { name: 'Skip' }).click();
  await expect
    .poll(() => server.steered.at(-1))
    .toEqual({ decide: 'skip', cell: '3.1', code: '' });
  await change(
    server,
    run({ ...waiting, approval: { ...approval, cell: '4.1' } })
  );
  await panel.getByRole('button', { name: 'Run', exact: true }).click();
  await expect
    .poll(() => server.steered.at(-1))
    .toEqual({ decide: 'run', cell: '4.1', code: '' });
  await change(server, run({ id: 'r-1' }));
  await expect(panel.getByText('waits for your word')).toHaveCount(0);
});

test('the model is told something, and allowed more', async ({ page }) => {
  const { server, panel } = await openRun(page, run({ id: 'r-1' }));
  const note = panel.getByRole('textbox', { name: 'Tell the model' });
  const send = panel.getByRole('button', { name: 'Send' });
  await expect(send).toBeDisabled();
  await note.fill('Only those of May count.');
  await note.press('Enter');
  await expect(panel.getByText('reads it before its next turn')).toBeVisible();
  await expect(note).toHaveValue('');

  const more = panel.getByRole('button', { name: 'Allow more …' });
  await expect(more).toHaveAttribute('aria-expanded', 'false');
  await more.click();
  const allow = panel.getByRole('button', { name: 'Allow', exact: true });
  await expect(allow).toBeDisabled();
  const turns = panel.getByRole('spinbutton', { name: 'Turns in all' });
  await expect(turns).toHaveAttribute('placeholder', '12');
  await turns.fill('5');
  await panel.getByRole('spinbutton', { name: 'Seconds in all' }).fill('1800');
  server.objection = 'max_turns is 12 already; give a higher one.';
  await allow.click();
  await expect(panel.getByRole('alert')).toHaveText(server.objection);
  await page.screenshot({ path: 'test-results/steering-limits.png' });
  await expectAccessible(page, '#kowalski-panel');
  server.objection = null;
  await turns.fill('');
  await allow.click();
  await expect(more).toHaveAttribute('aria-expanded', 'false');
  expect(server.steered).toEqual([
    { tell: 'Only those of May count.' },
    { limits: { max_turns: 5, max_seconds: 1800 } },
    { limits: { max_seconds: 1800 } }
  ]);

  // A run that has ended takes nothing any more.
  await change(server, run({ id: 'r-1', state: 'done' }));
  await expect(note).toHaveCount(0);
});

test('child runs stand below the run that asked for them', async ({ page }) => {
  const { panel } = await openPanel(
    page,
    [
      ...RUNS,
      ...CHILDREN,
      summary({ id: 'r-9-1', parent: 'r-9', question: 'An orphan' })
    ],
    { 'r-1-1': run({ id: 'r-1-1', parent: 'r-1', state: 'done' }) }
  );
  const rows = panel.getByRole('listitem');
  await expect(rows).toHaveCount(RUNS.length + 1);
  await expect(page.locator('.kowalski-status-item')).toHaveText('1 run');
  const count = panel.getByRole('button', { name: '2 child runs' });
  await expect(count).toHaveAttribute('aria-expanded', 'false');
  await count.press('Enter');
  await expect(rows.nth(0).getByRole('listitem')).toHaveCount(2);
  for (const theme of THEMES) {
    await setTheme(page, theme);
    await page.screenshot({ path: `test-results/children-${theme}.png` });
    await expectAccessible(page, '#kowalski-panel');
  }
  await panel.getByRole('button', { name: /^How many in May/ }).click();
  await expect(panel.getByRole('button', { name: 'All runs' })).toBeFocused();
  await panel.getByRole('button', { name: 'Asked by r-1' }).click();
  await expect(
    panel.getByRole('region', { name: 'Run r-1', exact: true }).first()
  ).toBeVisible();
  await panel.getByRole('button', { name: 'All runs' }).click();
  await expect(count).toHaveAttribute('aria-expanded', 'true');
  // Back where it came from: the run whose details were open.
  await expect(
    panel.locator('[data-run="r-1"] .kowalski-run-open').first()
  ).toBeFocused();
});

test('a run that broke off says how to continue it', async ({ page }) => {
  const runs = [
    summary({ id: folded.id, state: 'failed', resumable: true }),
    // What goes on is not continued, whatever a server says of it.
    summary({ id: 'r-8', resumable: true })
  ];
  const { panel } = await openPanel(page, runs, { [folded.id]: folded });
  const rows = panel.getByRole('listitem');
  await expect(rows.nth(0)).toContainText('can be continued');
  await expect(rows.nth(1)).not.toContainText('can be continued');
  await rows.nth(0).getByRole('button').click();
  await expect(panel.getByText('%rlm resume r-folded').first()).toBeVisible();
  await expect(
    panel.getByRole('region', { name: 'Best answer so far' })
  ).toBeVisible();
  await panel.getByRole('button', { name: 'Copy' }).first().click();
  await expect(panel.getByRole('button', { name: 'Copied' })).toBeVisible();
  expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(
    '%rlm resume r-folded'
  );
  await page.screenshot({ path: 'test-results/resume.png' });
  await expectAccessible(page, '#kowalski-panel');
});
