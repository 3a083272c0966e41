// One server for a suite: its own process, its own data directory, free ports.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const binary =
  process.env.KEYREEVE_BIN ?? fileURLToPath(new URL('../../target/tested/keyreeve', import.meta.url));

export async function startServer() {
  const data = mkdtempSync(join(tmpdir(), 'keyreeve-e2e-'));
  const listeners = ['--listen', '--check-listen', '--ops-listen'].flatMap((flag) => [flag, '127.0.0.1:0']);
  const child = spawn(binary, ['serve', '--data', data, ...listeners], { stdio: ['ignore', 'pipe', 'ignore'] });
  const said = {};
  for await (const line of createInterface({ input: child.stdout })) {
    if (line === 'ready') break;
    const [name, ...value] = line.split('=');
    said[name] = value.join('=');
  }
  return {
    url: `http://${said.listen}`,
    rootKey: said.root_key,
    stop() {
      child.kill('SIGKILL');
      rmSync(data, { recursive: true, force: true });
    },
  };
}
