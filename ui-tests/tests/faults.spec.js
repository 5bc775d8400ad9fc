/** What a user sees of a run with many sub-calls while devices fail: in its cell and in the panel. */
import { startCluster } from '../support/cluster.js';
import { expect, test as base } from '../support/fixtures.js';
import {
  execute,
  openNotebook,
  output,
  runCell,
  startCell
} from '../support/lab.js';
import { CLUSTER_URL } from '../support/places.js';

const test = base.extend({
  /** A simulated cluster with so many devices. */
  nodes: [3, { option: true }],
  /** How many sub-calls the run makes: a second each, eight at a time on each device. */
  calls: [200, { option: true }],
  cluster: async ({ nodes, calls }, use) => {
    const cluster = await startCluster({ nodes, calls });
    await use(cluster);
    await cluster.stop();
  }
});

test.setTimeout(400_000);

/** Start a run on the cluster with the panel open; returns its output when 40 sub-calls are answered. */
async function startRun(page, cluster) {
  await openNotebook(page, [
    '%load_ext kowalski_jupyter\nlimit = 5',
    `%%rlm limit --url ${CLUSTER_URL} --max-subcalls 1000\nWhat is the sum?`
  ]);
  await runCell(page, 0);
  await execute(page, 'kowalski:open-panel');
  // The panel shows the devices before one of them fails.
  await expect(device(page, 'studio')).toContainText('there');
  await startCell(page, 1);
  await cluster.answered(40);
  return output(page, 1);
}

/** Wait for the right answer; the run may take long on a slow machine. */
async function expectDone(shown, calls) {
  await expect(shown.locator('.kowalski-state')).toHaveText('Done', {
    timeout: 90_000
  });
  await expect(shown.getByLabel('Answer')).toContainText(
    String((calls * (calls - 1)) / 2)
  );
  await expect(shown.locator('.kowalski-status').first()).toContainText(
    `${calls} sub-calls`
  );
}

const device = (page, name) =>
  page
    .getByRole('region', { name: 'Kowalski runs' })
    .getByRole('group', { name });

test('a device dies: its sub-calls are sent again, and the run says so in a line', async ({
  page,
  cluster,
  calls
}) => {
  const shown = await startRun(page, cluster);
  await expect(device(page, 'tower')).toContainText('there');
  await cluster.inject('kill_node', { node: 2 });
  await expect(shown).toContainText(
    /tower (broke off replies|stopped answering): .*sub-calls? (is|are) sent again/,
    { timeout: 90_000 }
  );
  await expect(device(page, 'tower')).toContainText('lost');
  await expectDone(shown, calls);
  await page.screenshot({ path: 'test-results/faults-device.png' });
});

test('the master dies: the run has the model loaded again, and the panel says why', async ({
  page,
  cluster,
  calls
}) => {
  const shown = await startRun(page, cluster);
  await cluster.inject('kill_master');
  await expect(shown).toContainText('exo is asked to load it', {
    timeout: 60_000
  });
  await expect(shown).toContainText(
    /exo has a new master, which knows nothing of it: .*sub-calls? (is|are) sent again/
  );
  const panel = page.getByRole('region', { name: 'Kowalski runs' });
  await expect(panel.getByRole('log')).toContainText(
    'exo has chosen a new master'
  );
  await expect(device(page, 'studio')).toContainText('lost');
  await expectDone(shown, calls);
  await page.screenshot({ path: 'test-results/faults-master.png' });
});

test('a device becomes slow: what it is late with is asked a second time', async ({
  page,
  cluster,
  calls
}) => {
  const shown = await startRun(page, cluster);
  await cluster.inject('slow_node', { node: 1, factor: 60 });
  await expect(shown).toContainText(
    /took twice as long as 19 of 20 others and (was|were) asked a second time; the second reply came first/,
    { timeout: 90_000 }
  );
  // It is there all the same, and nothing was lost.
  await expect(device(page, 'mini')).toContainText('there');
  await expect(shown).not.toContainText('sent again');
  await expectDone(shown, calls);
  await page.screenshot({ path: 'test-results/faults-slow.png' });
});

test.describe('with one device', () => {
  test.use({ nodes: 1, calls: 80 });

  test('none is left: the run waits, and goes on when one is back', async ({
    page,
    cluster,
    calls
  }) => {
    const shown = await startRun(page, cluster);
    await cluster.inject('kill_node', { node: 0 });
    await expect(shown).toContainText(
      'The run waits until one does; interrupt the cell to stop it.',
      { timeout: 90_000 }
    );
    await expect(shown.locator('.kowalski-state').first()).toHaveText(
      'Running'
    );
    await page.screenshot({ path: 'test-results/faults-waiting.png' });
    await cluster.inject('node_back', { node: 0 });
    await expect(shown).toContainText('answers again: the run goes on.', {
      timeout: 60_000
    });
    await expectDone(shown, calls);
    await page.screenshot({ path: 'test-results/faults-back.png' });
  });
});
