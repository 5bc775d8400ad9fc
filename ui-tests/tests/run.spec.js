/** What a long run shows in its cell: folds, child runs, remembered replies, a partial answer. */
import { expectAccessible } from '../support/axe.js';
import { folded, run, saved, turn, waiting } from '../support/documents.js';
import { expect, test, viewTest } from '../support/fixtures.js';
import { openNotebook, output, setTheme, THEMES } from '../support/lab.js';

const item = (where, name) => where.getByRole('treeitem', { name });
const row = (where, name) => item(where, name).locator('> .kowalski-row');

viewTest(
  'the best answer so far stands with what ended the run',
  async ({ page, kernel }) => {
    await openNotebook(page, [saved({ ...folded, id: 'r-partial' })], kernel);
    const shown = output(page, 0);
    const answer = shown.getByRole('region', { name: 'Best answer so far' });
    await expect(answer).toContainText('At least 380');
    await expect(answer).toContainText('Allow more with --max-turns 28');
    await expect(shown.locator('.kowalski-error')).toHaveCount(1);
    const border = await answer.evaluate(
      node => getComputedStyle(node).borderLeftColor
    );
    const green = await answer.evaluate(node => {
      node.style.borderLeftColor = 'var(--jp-success-color1)';
      return getComputedStyle(node).borderLeftColor;
    });
    expect(border).not.toBe(green);
  }
);

viewTest(
  'a fold opens to its summary and facts, by keyboard, and stays open',
  async ({ page, kernel }) => {
    await openNotebook(
      page,
      [saved({ ...folded, id: 'r-fold' }), saved({ ...folded, id: 'r-fold' })],
      kernel
    );
    const shown = output(page, 0);
    const focused = page.locator(':focus');
    const fold = item(shown, /^Turns 1–12 folded \(summary\) 4\.1 s/);
    await expect(fold).toHaveAttribute('aria-expanded', 'false');

    await item(shown, /^Turn 1 /).focus();
    for (let count = 0; count < 12; count += 1) {
      await page.keyboard.press('ArrowDown');
    }
    await expect(focused).toHaveAccessibleName(/^Turns 1–12 folded/);
    await page.keyboard.press('ArrowRight');
    await expect(fold).toHaveAttribute('aria-expanded', 'true');
    await page.keyboard.press('ArrowRight');
    await expect(focused).toHaveAccessibleName(
      /^Summary by the model: The notes are short/
    );
    await page.keyboard.press('ArrowDown');
    await expect(focused).toHaveAccessibleName(/^2 facts kept/);
    await page.keyboard.press('ArrowRight');
    await expect(focused).toHaveAccessibleName(
      'Kept: Variables: counts, months, questions'
    );
    await page.keyboard.press('ArrowDown');
    await page.keyboard.press('ArrowDown');
    await expect(focused).toHaveAccessibleName(/^Turn 13/);

    // Rendered anew on the same page, it is as the user left it.
    await page.evaluate(() => {
      const { content } = window.jupyterapp.shell.currentWidget;
      const { outputs } = content.widgets[0].model;
      const [first] = outputs.toJSON();
      outputs.clear();
      outputs.add(first);
    });
    await expect(fold).toHaveAttribute('aria-expanded', 'true');
  }
);

test('remembered replies are marked, and child runs open in the panel', async ({
  page,
  kernel
}) => {
  await openNotebook(page, [saved({ ...folded, id: 'r-calls' })], kernel);
  const shown = output(page, 0);
  await expect(shown.locator('.kowalski-status')).toContainText(
    '3 sub-calls (1 remembered)'
  );
  await row(shown, /^Turn 13/).click();
  await expect(item(shown, /^3 sub-calls 1 remembered/)).toBeVisible();
  await row(shown, /^3 sub-calls/).click();
  const remembered = item(shown, /^Sub-call, ok, remembered: 3/);
  await expect(remembered.locator('[data-mark="remembered"]')).toBeVisible();
  await expect(
    item(shown, /^Sub-call, ok: 1 .* r-folded-1 14 s/)
  ).toBeVisible();

  // The Tab key does not stop at the link: the Enter key on its item follows it.
  await row(shown, /^Sub-call, ok: 2/).click();
  const child = item(shown, 'Answered by the child run r-folded-2');
  await expect(child.getByRole('button')).toHaveAttribute('tabindex', '-1');
  await page.route(/\/kowalski\/api\/runs\/r-folded-2/, route =>
    route.fulfill({ json: run({ id: 'r-folded-2', parent: 'r-calls' }) })
  );
  await child.focus();
  await page.keyboard.press('Enter');
  const panel = page.getByRole('region', { name: 'Kowalski runs' });
  await expect(
    panel.getByRole('region', { name: 'Run r-folded-2' }).first()
  ).toBeVisible();
  await expect(
    panel.getByRole('button', { name: 'Asked by r-calls' })
  ).toBeVisible();
});

viewTest(
  'what older versions lack and what is malformed does no harm',
  async ({ page, kernel }) => {
    const older = structuredClone({ ...folded, id: 'r-older' });
    for (const key of ['parent', 'origin', 'approval']) {
      delete older[key];
    }
    delete older.usage.subcalls_remembered;
    delete older.answer.partial;
    for (const one of older.turns) {
      delete one.fold;
    }
    const odd = run({
      id: 'r-odd',
      parent: 3,
      origin: {},
      approval: { cell: [], code: 7 },
      answer: { type: 'int', text: '1', partial: 'yes' },
      turns: [
        turn(1, { fold: 'all' }),
        turn(2, {
          fold: { turns: -4, summary: null, kept: [3, {}, 'a fact'] }
        }),
        turn(3, { fold: [] })
      ]
    });
    await openNotebook(page, [saved(older), saved(odd)], kernel);
    await expect(
      output(page, 0).getByRole('region', { name: 'Answer' })
    ).toContainText('At least 380');
    const shown = output(page, 1);
    await expect(shown.getByRole('region', { name: 'Answer' })).toContainText(
      '1'
    );
    await row(shown, /folded/).click();
    await expect(item(shown, 'Kept: a fact')).toBeVisible();
  }
);

for (const theme of THEMES) {
  viewTest(
    `a long run has no serious accessibility fault in ${theme}`,
    async ({ page, kernel }) => {
      await openNotebook(
        page,
        [
          saved({ ...folded, id: `r-long-${theme}` }),
          saved({ ...waiting, id: `r-waiting-${theme}` })
        ],
        kernel
      );
      await setTheme(page, theme);
      const shown = output(page, 0);
      await row(shown, /^Turns 1–12 folded/).click();
      await row(shown, /^Turn 13/).click();
      await row(shown, /^3 sub-calls/).click();
      await row(shown, /^Sub-call, ok: 1/).click();
      await row(shown, /^Sub-call, ok, remembered: 3/).click();
      await expect(output(page, 1)).toContainText('Waits for you');
      await shown
        .getByRole('region', { name: 'Best answer' })
        .scrollIntoViewIfNeeded();
      await page.screenshot({
        path: `test-results/course-answer-${theme}.png`
      });
      await row(shown, /^Turn 14/).scrollIntoViewIfNeeded();
      await page.screenshot({ path: `test-results/course-${theme}.png` });
      await output(page, 1).scrollIntoViewIfNeeded();
      await page.screenshot({
        path: `test-results/course-waiting-${theme}.png`
      });
      await expectAccessible(page, '.kowalski-run');
    }
  );
}
