/** A simulated exo cluster of three devices, which can be broken. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { createInterface } from 'node:readline';

import { CLUSTER_PORT } from './places.js';

const root = path.resolve(import.meta.dirname, '..', '..');
const python = process.env.KOWALSKI_PYTHON_BIN
  ? path.join(process.env.KOWALSKI_PYTHON_BIN, 'python')
  : 'python';

/**
 * Start it, and wait until its model is ready on every device.
 *
 * `inject` lets something go wrong (kowalski_jupyter/exo_sim/faults.py), `answered`
 * waits for a number of replies, `stop` ends it.
 */
export async function startCluster(options = {}) {
  const words = Object.entries(options).flatMap(([name, value]) => [
    `--${name}`,
    String(value)
  ]);
  const child = spawn(
    python,
    [
      '-m',
      'tests.support.failing_cluster',
      '--port',
      String(CLUSTER_PORT),
      ...words
    ],
    { cwd: root, stdio: ['pipe', 'pipe', 'inherit'] }
  );
  const lines = createInterface({ input: child.stdout });
  const [first] = await once(lines, 'line');
  const { control } = JSON.parse(first);

  const ask = async (order, body) => {
    const response = await fetch(`${control}/${order}`, {
      ...(body && { method: 'POST', body: JSON.stringify(body) })
    });
    if (!response.ok) {
      throw new Error(`${order}: ${await response.text()}`);
    }
    return response.json();
  };
  return {
    inject: (fault, settings = {}) => ask('inject', { fault, ...settings }),
    async answered(count) {
      let done = 0;
      while (done < count) {
        const records = await ask('requests');
        done = records.filter(({ outcome }) => outcome === 'finished').length;
        await new Promise(resolve => {
          setTimeout(resolve, 100);
        });
      }
    },
    async stop() {
      const ended = once(child, 'exit');
      child.stdin.end();
      await ended;
    }
  };
}
