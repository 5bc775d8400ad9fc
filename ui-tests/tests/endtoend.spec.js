import { expect, test } from '../support/fixtures.js';
import {
  execute,
  kernelIs,
  notebook,
  openNotebook,
  output,
  ready,
  runCell,
  setTheme,
  shutDownKernel,
  startCell,
  THEMES
} from '../support/lab.js';
import { runningKernels } from '../support/rest.js';

const SETUP = [
  '%load_ext kowalski_jupyter',
  'notes = ["It was cold again."] * 8'
];

const state = shown => shown.locator('.kowalski-state');

/**
 * Record from now on what the page shows of the model's words, its code, and its
 * sub-calls; returns a function that tells the different lengths in order.
 */
async function recordGrowth(page) {
  await page.evaluate(() => {
    const record = { proses: [], codes: [], rows: [] };
    const note = (lengths, length) => {
      if (length > 0 && lengths.at(-1) !== length) {
        lengths.push(length);
      }
    };
    const last = selector =>
      [...document.querySelectorAll(selector)].at(-1)?.textContent.length ?? 0;
    new MutationObserver(() => {
      note(record.proses, last('.kowalski-run .kowalski-prose'));
      note(record.codes, last('.kowalski-run .kowalski-code'));
      note(
        record.rows,
        document.querySelectorAll('.kowalski-run .kowalski-subcall').length
      );
    }).observe(document.body, {
      subtree: true,
      childList: true,
      characterData: true
    });
    window.growth = record;
  });
  return () => page.evaluate(() => window.growth);
}

test('a run grows in its cell, and is read again without a kernel', async ({
  page
}) => {
  await openNotebook(page, [
    SETUP.join('\n'),
    '%%rlm notes -o count\nHow many of the notes complain about the heating?',
    'print("the answer is", count + 1)'
  ]);
  await runCell(page, 0);
  const growth = await recordGrowth(page);
  await startCell(page, 1);
  const shown = output(page, 1);
  const turn = number =>
    shown.getByRole('treeitem', { name: new RegExp(`^Turn ${number}`) });
  await expect(state(shown)).toHaveText('Running');
  await expect(turn(1)).toHaveAttribute('aria-expanded', 'true');
  await expect(turn(2)).toHaveAttribute('aria-expanded', 'true');
  await expect(turn(1)).toHaveAttribute('aria-expanded', 'false');
  await expect(state(shown)).toHaveText('Done');
  // The words came one after another, and so did code and sub-calls.
  const { proses, codes, rows } = await growth();
  expect(proses.length).toBeGreaterThan(1);
  expect(codes.length).toBeGreaterThan(1);
  expect(rows.at(-1)).toBe(8);
  await expect(shown.getByLabel('Answer')).toContainText('8');
  await expect(shown).toContainText('8 sub-calls');
  await page.screenshot({ path: 'test-results/endtoend-done.png' });
  await runCell(page, 2);
  await expect(output(page, 2)).toContainText('the answer is 9');

  await execute(page, 'docmanager:save');
  const kernel = await shutDownKernel(page);
  await page.reload();
  await ready(page);
  expect(await runningKernels()).not.toContain(kernel);
  await expect(state(shown)).toHaveText('Done');
  await turn(1).getByText('Turn 1').click();
  await expect(shown.getByText("<class 'list'> 8")).toBeVisible();
});

test('the stop button of the toolbar cancels the run', async ({
  page,
  kernel
}) => {
  await openNotebook(
    page,
    [SETUP.join('\n'), '%%rlm notes\nNever stop looking.'],
    kernel
  );
  await runCell(page, 0);
  await startCell(page, 1);
  const shown = output(page, 1);
  await expect(
    shown.getByRole('treeitem', { name: /^Cell 1\.1 python · running/ })
  ).toBeVisible();
  await notebook(page)
    .getByRole('button', { name: 'Interrupt the kernel' })
    .click();
  await expect(state(shown)).toHaveText('Cancelled');
  await expect(shown).toContainText('KeyboardInterrupt');
  await expect(
    shown.getByRole('treeitem', { name: /^Cell 1\.1 python · interrupted/ })
  ).toBeVisible();
  await expect(
    shown.getByRole('treeitem', { name: /^Turn 1 interrupted/ })
  ).toBeVisible();
  await kernelIs(page, 'idle');
  await page.screenshot({ path: 'test-results/endtoend-cancelled.png' });
});

test('the panel follows runs and cancels them', async ({ page, kernel }) => {
  await openNotebook(
    page,
    [SETUP.join('\n'), '%%rlm notes\nNever stop, cancelled from the panel.'],
    kernel
  );
  await execute(page, 'kowalski:open-panel');
  const panel = page.getByRole('region', { name: 'Kowalski runs' });
  await expect(
    panel.getByRole('heading', { name: 'This machine' })
  ).toBeVisible();
  await runCell(page, 0);
  await startCell(page, 1);
  const run = panel
    .getByRole('listitem')
    .filter({ hasText: 'cancelled from the panel' });
  await expect(run).toContainText('Running');
  await expect(panel).toContainText('scripted');
  await expect(page.locator('.kowalski-status-item')).toHaveText('1 run');
  for (const theme of THEMES) {
    await setTheme(page, theme);
    await page.screenshot({ path: `test-results/endtoend-panel-${theme}.png` });
  }
  await run
    .getByRole('button', { name: /cancelled from the panel/ })
    .first()
    .click();
  await expect(
    panel.getByRole('treeitem', { name: /^Cell 1\.1/ })
  ).toContainText('running');
  await panel.getByRole('button', { name: 'All runs' }).click();
  await run.getByRole('button', { name: /^Cancel the run/ }).click();
  await expect(run).toContainText('Cancelled');
  await expect(state(output(page, 1))).toHaveText('Cancelled');
  await kernelIs(page, 'idle');
  await expect(page.locator('.kowalski-status-item')).toBeHidden();
});

test('a run that asks before each block is decided in the panel', async ({
  page,
  kernel
}) => {
  await openNotebook(
    page,
    [SETUP.join('\n'), '%%rlm notes --step --detach\nHow many are cold?'],
    kernel
  );
  await runCell(page, 0);
  await runCell(page, 1);
  await execute(page, 'kowalski:open-panel');
  const panel = page.getByRole('region', { name: 'Kowalski runs' });
  await panel
    .getByRole('button', { name: /^How many are cold/ })
    .first()
    .click();
  const block = number =>
    panel.getByRole('region', { name: `Block ${number} waits for your word` });
  await expect(block('1.1')).toContainText('print(type(notes), len(notes))');
  await expect(state(panel)).toHaveText('Waits for you');
  await panel
    .getByRole('textbox', { name: 'Tell the model' })
    .fill('Be brief.');
  await panel.getByRole('button', { name: 'Send' }).click();
  await expect(panel.getByText('You added: Be brief.')).toBeVisible();
  await page.screenshot({ path: 'test-results/endtoend-step.png' });
  await block('1.1').getByRole('button', { name: 'Run' }).click();

  await block('2.1').getByRole('button', { name: 'Edit' }).click();
  await block('2.1').getByRole('textbox').fill('FINAL(len(notes) + 1)');
  await page.keyboard.press('Control+Enter');
  await expect(state(panel)).toHaveText('Done');
  await expect(panel.getByRole('region', { name: 'Answer' })).toContainText(
    '9'
  );
});
