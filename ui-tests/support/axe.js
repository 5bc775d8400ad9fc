import AxeBuilder from '@axe-core/playwright';
import { expect } from '@playwright/test';

/** Check that axe finds nothing serious or critical within parts of the page. */
export async function expectAccessible(page, ...selectors) {
  const axe = new AxeBuilder({ page });
  // The parts hold no frames of other origins: no second page is needed for them,
  // which would take the focus.
  axe.setLegacyMode();
  for (const selector of selectors) {
    axe.include(selector);
  }
  const { violations } = await axe.analyze();
  const serious = violations
    .filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .map(
      ({ id, nodes }) =>
        `${id}: ${nodes.map(node => `${node.html} ${node.failureSummary}`).join('\n')}`
    );
  expect(serious).toEqual([]);
}
