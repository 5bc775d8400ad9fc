import { expectAccessible } from '../support/axe.js';
import {
  answered,
  asking,
  cell,
  display,
  looking,
  output as text,
  prose,
  rich,
  run,
  saved,
  subcall,
  turn,
  update
} from '../support/documents.js';
import { expect, viewTest as test } from '../support/fixtures.js';
import {
  openNotebook,
  output,
  runCell,
  setTheme,
  THEMES
} from '../support/lab.js';

const item = (where, name) => where.getByRole('treeitem', { name });

test('grows in place and keeps what the user did', async ({ page, kernel }) => {
  await openNotebook(
    page,
    [
      display(run({ turns: [looking] })),
      update(run({ turns: [looking, asking] })),
      update(answered)
    ],
    kernel
  );
  await runCell(page, 0);
  const shown = output(page, 0);
  const one = item(shown, /^Turn 1/);
  const two = item(shown, /^Turn 2/);
  await expect(shown.locator('.kowalski-state')).toHaveText('Running');
  await expect(one).toHaveAttribute('aria-expanded', 'true');

  // Marks that are gone if the elements are made anew.
  await shown.locator('.kowalski-run').evaluate(node => {
    node.dataset.mark = 'kept';
  });
  // The user selects a word of the model's.
  await shown.getByText('I look at the notes first.').dblclick({
    position: { x: 20, y: 8 }
  });
  const selected = () => page.evaluate(() => getSelection().toString().trim());
  const word = await selected();
  expect(word).not.toBe('');

  await runCell(page, 1);
  await expect(two).toHaveAttribute('aria-expanded', 'true');
  expect(await selected()).toBe(word);
  await expect(shown.locator('.kowalski-run')).toHaveAttribute(
    'data-mark',
    'kept'
  );
  // The clock goes on between two documents.
  const clock = shown.locator('.kowalski-status .kowalski-number');
  await expect(clock).not.toHaveText('12 s');
  // The user was inside the first turn: it does not close by itself.
  await expect(one).toHaveAttribute('aria-expanded', 'true');
  await one.getByText('Turn 1').click();
  await expect(one).toHaveAttribute('aria-expanded', 'false');
  await two.getByText('Turn 2', { exact: true }).click();
  await two.getByText('Turn 2', { exact: true }).click();
  await expect(two).toHaveAttribute('aria-expanded', 'true');

  await runCell(page, 2);
  await expect(shown.locator('.kowalski-state')).toHaveText('Done');
  await expect(shown.getByLabel('Answer').getByText('412')).toBeVisible();
  await expect(one).toHaveAttribute('aria-expanded', 'false');
  await expect(two).toHaveAttribute('aria-expanded', 'true');

  // Shown anew on the same page, the run is as the user left it.
  await runCell(page, 0);
  await expect(shown.locator('.kowalski-run')).not.toHaveAttribute('data-mark');
  await expect(one).toHaveAttribute('aria-expanded', 'false');
});

test('a turn that ended closes unless the user opened it', async ({
  page,
  kernel
}) => {
  await openNotebook(
    page,
    [
      display(run({ id: 'r-closing', turns: [looking] })),
      update(run({ id: 'r-closing', turns: [looking, asking] }))
    ],
    kernel
  );
  await runCell(page, 0);
  const one = item(output(page, 0), /^Turn 1/);
  await expect(one).toHaveAttribute('aria-expanded', 'true');
  await runCell(page, 1);
  await expect(one).toHaveAttribute('aria-expanded', 'false');
});

test('text that streams keeps the end in sight until the user scrolls', async ({
  page,
  kernel
}) => {
  const lines = count =>
    Array.from({ length: count }, (_, index) => `line ${index}`).join('\n');
  const printing = count =>
    run({
      id: 'r-streaming',
      turns: [
        turn(1, {
          state: 'running',
          parts: [
            cell('1.1', {
              state: 'running',
              outputs: [text('stdout', lines(count))]
            })
          ]
        })
      ]
    });
  await openNotebook(
    page,
    [display(printing(50)), update(printing(100)), update(printing(150))],
    kernel
  );
  await runCell(page, 0);
  const box = output(page, 0).locator('.kowalski-output-stdout');
  await runCell(page, 1);
  const left = () =>
    box.evaluate(
      node => node.scrollHeight - node.scrollTop - node.clientHeight
    );
  await expect.poll(left).toBeLessThan(8);
  await expect(box).toHaveAttribute('tabindex', '0');

  await box.evaluate(node => {
    node.scrollTop = 40;
  });
  await runCell(page, 2);
  await expect(box).toContainText('line 149');
  expect(await box.evaluate(node => node.scrollTop)).toBe(40);
});

test('every state has its word and its drawing', async ({ page, kernel }) => {
  const states = {
    starting: 'Starting',
    running: 'Running',
    done: 'Done',
    failed: 'Failed',
    cancelled: 'Cancelled'
  };
  const cells = {
    writing: 'being written',
    waiting: 'waiting',
    running: 'running',
    ok: 'ok',
    error: 'error',
    final: 'gave the answer',
    timeout: 'took too long',
    died: 'kernel died',
    interrupted: 'interrupted',
    skipped: 'skipped'
  };
  const parts = Object.keys(cells).map((state, index) =>
    cell(`1.${index + 1}`, { state })
  );
  const runs = Object.keys(states).map(state =>
    saved(run({ id: `r-${state}`, state }))
  );
  const long = run({
    id: 'r-cells',
    turns: [turn(1, { state: 'running', parts })]
  });
  await openNotebook(page, [...runs, saved(long)], kernel);
  for (const [index, word] of Object.values(states).entries()) {
    const state = output(page, index).locator('.kowalski-state');
    await expect(state).toHaveText(word);
    await expect(state.locator('svg')).toBeVisible();
  }
  for (const [index, word] of Object.values(cells).entries()) {
    const row = item(output(page, 5), new RegExp(`^Cell 1\\.${index + 1} `));
    await expect(row).toContainText(word);
  }
});

test('failures, progress and notices are told', async ({ page, kernel }) => {
  const error =
    'The model server at http://127.0.0.1:1 does not answer.\nStart it, or unset KOWALSKI_URL.';
  await openNotebook(
    page,
    [
      saved(run({ id: 'r-1', state: 'failed', error, turns: [looking] })),
      saved(
        run({
          id: 'r-2',
          state: 'starting',
          progress: { text: 'Downloading the model', done: 300, total: 1100 },
          notices: ['running unsandboxed by your setting']
        })
      ),
      saved(run({ id: 'r-3', state: 'running', started: 1_700_000_000 }))
    ],
    kernel
  );
  await expect(output(page, 0).locator('.kowalski-error')).toContainText(
    'Start it, or unset'
  );
  await expect(
    output(page, 1).getByRole('progressbar', {
      name: 'Downloading the model · 27 %'
    })
  ).toHaveAttribute('value', '300');
  await expect(output(page, 1)).toContainText(
    'running unsandboxed by your setting'
  );
  await page.screenshot({ path: 'test-results/renderer-failures.png' });
  // Saved in the middle and long past its time limit.
  await expect(output(page, 2).locator('.kowalski-state')).toHaveText(
    'Unfinished when last saved'
  );
});

test('what a stranger wrote is shown as text', async ({ page, kernel }) => {
  const evil =
    '<img src=x onerror="window.attacked = true"><script>window.attacked = true</script>';
  const hostile = run({
    id: evil,
    parent: evil,
    origin: evil,
    question: evil,
    state: 'failed',
    error: evil,
    notices: [evil],
    model: { name: evil, where: evil },
    host: evil,
    sandbox: evil,
    data: [{ name: evil, type: evil, summary: evil }],
    answer: { type: evil, text: evil },
    turns: [
      turn(1, {
        reasoning: evil,
        fold: { turns: 1, summary: evil, kept: [evil], seconds: 1 },
        feedback: evil,
        parts: [
          prose(evil),
          cell(evil, {
            language: evil,
            code: evil,
            outputs: [text('display', evil)],
            subcalls: [
              subcall(1, { model: evil, prompt: evil, reply: evil, run: evil })
            ]
          })
        ]
      })
    ]
  });
  await openNotebook(page, [saved(hostile)], kernel);
  const shown = output(page, 0);
  const closed = [
    /^Turn 1 folded/,
    /^Reasoning/,
    /^1 sub-call/,
    /^Sub-call/,
    /^About/
  ];
  for (const name of closed) {
    await item(shown, name).locator('> .kowalski-row').click();
  }
  await expect(shown.getByText(evil).first()).toBeVisible();
  await expect(shown.locator('img, script')).toHaveCount(0);
  expect(await page.evaluate(() => window.attacked)).toBeUndefined();
});

test('pictures and tables are shown, and nothing of them runs or fetches', async ({
  page,
  kernel
}) => {
  const asked = [];
  page.on('request', request => {
    if (request.url().includes('stranger.example')) {
      asked.push(request.url());
    }
  });
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="320" height="120" onload="window.attacked = true">
    <image href="http://stranger.example/a.png"/><script>window.attacked = true</script>
    <polyline points="10,110 100,60 200,80 310,10" fill="none" stroke="teal" stroke-width="4"/></svg>`;
  const table = `<table onclick="window.attacked = true"><thead><tr><th>year</th><th>letters</th></tr></thead>
    <tbody><tr><td>1816</td><td>42</td></tr></tbody></table>
    <img src="http://stranger.example/b.png" onerror="window.attacked = true">
    <a href="http://stranger.example/c" class="jp-Button">Log in</a><style>body { display: none }</style>`;
  const document = run({
    id: 'r-pictures',
    state: 'done',
    turns: [
      turn(1, {
        parts: [
          cell('1.1', {
            code: 'plot(letters)',
            outputs: [
              rich('image/svg+xml', btoa(svg), 'letters by year'),
              rich('text/html', table, '  year letters'),
              rich('text/javascript', 'window.attacked = true', 'a script')
            ]
          })
        ]
      })
    ]
  });
  await openNotebook(page, [saved(document)], kernel);
  const shown = output(page, 0);
  await item(shown, /^Turn 1/).click();
  const picture = shown.getByRole('img', { name: 'letters by year' });
  await expect(picture).toBeVisible();
  expect(await picture.evaluate(node => node.naturalWidth)).toBe(320);
  await expect(shown.getByRole('cell', { name: '1816' })).toBeVisible();
  await expect(shown.getByText('a script')).toBeVisible();
  await expect(shown.locator('script, style, a, table img')).toHaveCount(0);
  await shown.getByRole('cell', { name: '1816' }).click();
  expect(await page.evaluate(() => window.attacked)).toBeUndefined();
  expect(asked).toEqual([]);
  await expectAccessible(page, '.kowalski-run');
  await page.screenshot({ path: 'test-results/renderer-pictures.png' });
});

test('what cannot be read is explained', async ({ page, kernel }) => {
  const documents = [
    [null, 'cannot be read'],
    [[], 'cannot be read'],
    ['a text', 'cannot be read'],
    [{}, 'cannot be read'],
    [{ version: 1, id: 3, state: 'running' }, 'cannot be read'],
    [{ version: 1, id: 'r', state: 'dancing' }, 'cannot be read'],
    [{ ...run(), version: 7 }, 'version 7 of the format'],
    // Enough of it is right to show that much.
    [{ version: 1, id: 'r-little', state: 'done' }, 'Done'],
    [
      run({
        turns: [
          null,
          3,
          { parts: [null, { kind: 'cell', subcalls: {}, outputs: 'no' }] }
        ],
        usage: 'none',
        limits: [],
        seconds: -1
      }),
      'Running'
    ]
  ];
  await openNotebook(
    page,
    documents.map(([document]) => saved(document)),
    kernel
  );
  for (const [index, [, words]] of documents.entries()) {
    await expect(output(page, index)).toContainText(words);
  }
});

test('a document far beyond the format’s size stays usable', async ({
  page,
  kernel
}) => {
  const subcalls = Array.from({ length: 100 }, (_, index) =>
    subcall(index < 50 ? index + 1 : index + 851)
  );
  const turns = Array.from({ length: 60 }, (_, index) =>
    turn(index + 1, {
      parts: [
        prose('word '.repeat(2_000)),
        cell(`${index + 1}.1`, {
          state: 'running',
          outputs: [text('stdout', 'x'.repeat(20_000), 1_000_000)],
          subcalls,
          subcalls_total: 951
        })
      ]
    })
  );
  await openNotebook(page, [saved(run({ turns }))], kernel);
  const shown = output(page, 0);
  await expect(item(shown, /^Turn 60/)).toHaveAttribute(
    'aria-expanded',
    'true'
  );
  await expect(shown).toContainText('… 851 not shown …');
  await expect(shown).toContainText(
    'Printed, shortened from 1,000,000 characters'
  );
});

test('is walked by keyboard', async ({ page, kernel }) => {
  await openNotebook(page, [saved({ ...answered, id: 'r-keyboard' })], kernel);
  const shown = output(page, 0);
  const focused = page.locator(':focus');
  await shown.getByRole('button', { name: 'Copy' }).focus();
  await page.keyboard.press('Tab');
  await expect(focused).toHaveAccessibleName(/^Turn 1/);

  await page.keyboard.press('ArrowDown');
  await expect(focused).toHaveAccessibleName(/^Turn 2/);
  await page.keyboard.press('ArrowRight');
  await expect(focused).toHaveAttribute('aria-expanded', 'true');
  await page.keyboard.press('ArrowRight');
  await expect(focused).toHaveAccessibleName(/^The model wrote: Each note/);
  await page.keyboard.press('ArrowDown');
  await expect(focused).toHaveAccessibleName(
    /^Cell 2\.1 python · gave the answer/
  );
  await page.keyboard.press('ArrowDown');
  await expect(focused).toHaveAccessibleName(/^Code: replies = /);
  await page.keyboard.press('ArrowDown');
  await expect(focused).toHaveAccessibleName(/^11 sub-calls/);
  await page.keyboard.press('Enter');
  await page.keyboard.press('ArrowDown');
  await expect(focused).toHaveAccessibleName(/^Sub-call, ok: 1 Does this note/);
  await page.keyboard.press(' ');
  await expect(focused).toHaveAttribute('aria-expanded', 'true');
  await page.keyboard.press('ArrowLeft');
  await expect(focused).toHaveAttribute('aria-expanded', 'false');
  await page.keyboard.press('ArrowLeft');
  await expect(focused).toHaveAccessibleName(/^11 sub-calls/);
  await page.keyboard.press('End');
  await expect(focused).toHaveAccessibleName(/^About this run/);
  await page.keyboard.press('Home');
  await expect(focused).toHaveAccessibleName(/^Turn 1/);
});

test('the answer can be copied', async ({ page, kernel }) => {
  await openNotebook(page, [saved(answered)], kernel);
  await output(page, 0).getByRole('button', { name: 'Copy' }).click();
  await expect(
    output(page, 0).getByRole('button', { name: 'Copied' })
  ).toBeVisible();
  expect(await page.evaluate(() => navigator.clipboard.readText())).toBe('412');
});

for (const theme of THEMES) {
  test(`has no serious accessibility fault in ${theme}`, async ({
    page,
    kernel
  }) => {
    await openNotebook(
      page,
      [
        saved(run({ ...answered, id: 'r-1' })),
        saved(
          run({
            id: 'r-2',
            turns: [looking, asking],
            usage: answered.usage,
            notices: ['model loaded in 2.9 s']
          })
        )
      ],
      kernel
    );
    await setTheme(page, theme);
    const shown = output(page, 1);
    await item(shown, /^Turn 1/)
      .getByText('Turn 1')
      .click();
    await item(shown, /^Sub-call.* 9 /)
      .locator('> .kowalski-row')
      .click();
    await item(shown, /^About/)
      .locator('> .kowalski-row')
      .click();
    await page.screenshot({ path: `test-results/renderer-${theme}.png` });
    await output(page, 0).scrollIntoViewIfNeeded();
    await page.screenshot({
      path: `test-results/renderer-answer-${theme}.png`
    });
    await expectAccessible(page, '.kowalski-run');
  });
}
