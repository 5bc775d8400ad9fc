import { expectAccessible } from '../support/axe.js';
import { ALERT, DEVICES, TREND, device } from '../support/devices.js';
import { expect, test } from '../support/fixtures.js';
import { execute, openLab, setTheme, THEMES } from '../support/lab.js';
import { fakeServer, status } from '../support/server.js';

const section = page =>
  page
    .getByRole('region', { name: 'Kowalski runs' })
    .getByRole('region', { name: 'Devices' });

test('tells how devices are and what runs on them, in both themes', async ({
  page
}) => {
  const server = await fakeServer(
    page,
    status({ devices: DEVICES, alerts: [ALERT] })
  );
  server.trends = { a1: { memory: TREND, load: TREND } };
  await openLab(page);
  await execute(page, 'kowalski:open-panel');
  const devices = section(page);

  const studio = devices.getByRole('group', { name: 'Studio' });
  await expect(studio).toContainText('there');
  await expect(studio).toContainText('Mac Studio, Apple M3 Ultra');
  for (const fact of ['load 73 %', '58 °C', '87 W', 'answers in 4 ms']) {
    await expect(studio).toContainText(fact);
  }
  await expect(studio.getByRole('meter', { name: 'Memory' })).toHaveAttribute(
    'aria-valuetext',
    '153.6 of 512.0 GB'
  );
  await expect(studio).toContainText('over 2 devices');
  await expect(studio).toContainText('8 requests of ours');
  await expect(studio).toContainText('2 of them wait');
  await expect(studio).toContainText('31 tokens/s');
  await expect(
    studio.getByRole('img', {
      name: 'Memory in use over the last ten minutes: from 20 % to 90 %, now 30 %'
    })
  ).toBeVisible();

  const macbook = devices.getByRole('group', { name: 'MacBook' });
  await expect(macbook).toContainText('small work only: on battery');
  await expect(macbook).toContainText('loading, 40%');

  const mini = devices.getByRole('group', { name: 'mini' });
  await expect(mini).toContainText('lost');
  await expect(mini).toContainText('last heard of 48 s ago');

  const box = devices.getByRole('group', { name: 'box' });
  await expect(box).not.toContainText('°C');
  await expect(devices.getByRole('log')).toContainText('mini is lost');

  for (const theme of THEMES) {
    await setTheme(page, theme);
    await devices.screenshot({ path: `test-results/devices-${theme}.png` });
    await expectAccessible(page, '#kowalski-panel');
  }
});

test('says what to do without devices, and shows them as they come and go', async ({
  page
}) => {
  const server = await fakeServer(page);
  await openLab(page);
  await execute(page, 'kowalski:open-panel');
  const devices = section(page);
  await expect(devices).toContainText('No exo cluster was found');
  await expect(devices).toContainText('c.Kowalski.devices');

  await server.send(status({ devices: [device()] }));
  await expect(devices.getByRole('group')).toHaveCount(1);
  await expect(devices).toContainText('No model is loaded');

  const lost = [device({ condition: 'lost' })];
  await server.send(status({ devices: lost, alerts: [ALERT] }));
  await expect(devices.getByRole('group')).toContainText('lost');
  const over = { ...ALERT, until: Date.now() / 1000 };
  await server.send(status({ devices: [device()], alerts: [over] }));
  await expect(devices.getByRole('log')).toContainText('(over)');

  // Names come from other people's machines.
  const strange = device({ name: '<img src=x onerror=alert(1)>' });
  await server.send(status({ devices: [strange, { id: 7 }, null] }));
  await expect(devices).toContainText('<img src=x onerror=alert(1)>');
});
