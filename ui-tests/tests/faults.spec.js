/** What a user sees of a run with 200 sub-calls while devices fail. */
import { startCluster } from '../support/cluster.js';
import { expect, test } from '../support/fixtures.js';
import { execute, openNotebook, output, runCell, startCell } from '../support/lab.js';
import { CLUSTER_URL } from '../support/places.js';

test.setTimeout(180_000);

async function begin(page, options) {
  const cluster = await startCluster(options);
  await openNotebook(page, [
    '%load_ext kowalski_jupyter\nlimit = 5',
    `%%rlm limit --url ${CLUSTER_URL} --max-subcalls 1000 -o total\nWhat is the sum?`,
    '%rlm devices',
    '%rlm devices --why'
  ]);
  await runCell(page, 0);
  await execute(page, 'kowalski:open-panel');
  await startCell(page, 1);
  await cluster.answered(40);
  return cluster;
}

const FAULTS = [
  ['member', 'kill_node', { node: 2 }, /.*/],
  ['master', 'kill_master', {}, /.*/],
  ['slow', 'slow_node', { node: 1, factor: 5 }, /.*/]
];

for (const [name, fault, settings] of FAULTS) {
  test(`explore ${name}`, async ({ page }) => {
    const cluster = await begin(page, {});
    await page.screenshot({ path: `/tmp/cr-shots/${name}-0.png` });
    await cluster.inject(fault, settings);
    for (let i = 1; i < 5; i += 1) {
      await page.waitForTimeout(1500);
      await page.screenshot({ path: `/tmp/cr-shots/${name}-${i}.png` });
    }
    await expect(output(page, 1).locator('.kowalski-state')).toHaveText('Done', { timeout: 100_000 });
    await page.screenshot({ path: `/tmp/cr-shots/${name}-done.png` });
    await runCell(page, 2);
    await runCell(page, 3);
    await page.screenshot({ path: `/tmp/cr-shots/${name}-why.png` });
    await cluster.stop();
  });
}

test('explore none', async ({ page }) => {
  const cluster = await begin(page, { nodes: 1 });
  await cluster.inject('kill_node', { node: 0 });
  for (let i = 1; i < 5; i += 1) {
    await page.waitForTimeout(1500);
    await page.screenshot({ path: `/tmp/cr-shots/none-${i}.png` });
  }
  await cluster.inject('node_back', { node: 0 });
  for (let i = 5; i < 9; i += 1) {
    await page.waitForTimeout(1500);
    await page.screenshot({ path: `/tmp/cr-shots/none-${i}.png` });
  }
  await expect(output(page, 1).locator('.kowalski-state')).toHaveText('Done', { timeout: 100_000 });
  await page.screenshot({ path: `/tmp/cr-shots/none-done.png` });
  await cluster.stop();
});
