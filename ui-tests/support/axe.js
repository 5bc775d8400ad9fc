import AxeBuilder from '@axe-core/playwright';
import { expect } from '@playwright/test';

/** Check that axe finds nothing serious or critical within a part of the page. */
export async function expectAccessible(page, selector) {
  const { violations } = await new AxeBuilder({ page })
    .include(selector)
    .analyze();
  const serious = violations
    .filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .map(
      ({ id, nodes }) =>
        `${id}: ${nodes.map(node => `${node.html} ${node.failureSummary}`).join('\n')}`
    );
  expect(serious).toEqual([]);
}
