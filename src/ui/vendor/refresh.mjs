// Fetches what vendor.json pins and puts it here, as released. To take a newer release, change its version there,
// delete its integrity, and run this.
//
//   node refresh.mjs            fetch, compare with the pinned hash (or write it where there is none), put in place
//   node refresh.mjs --check    whether what is here is what is pinned
//   node refresh.mjs --tools D  fetch everything, the tools of the tests too, into D/node_modules, and see whether what
//                               is pinned is what was released

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFileSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const pins = join(here, 'vendor.json');
const { packages } = JSON.parse(readFileSync(pins, 'utf8'));
const [what, to] = process.argv.slice(2);

const digest = (path) => `sha512-${createHash('sha512').update(readFileSync(path)).digest('base64')}`;

/** Fetches a release, compares it with its pin, and says where it was unpacked. */
function fetch(pin, scratch) {
  const spec = `${pin.name}@${pin.version}`;
  const packed = execFileSync('npm', ['pack', '--silent', '--pack-destination', scratch, spec], { encoding: 'utf8' });
  const archive = join(scratch, packed.trim().split('\n').at(-1));
  const found = digest(archive);
  if (pin.integrity && pin.integrity !== found) {
    throw new Error(`${spec} is ${found}, but vendor.json pins ${pin.integrity}`);
  }
  pin.integrity = found;
  const folder = join(scratch, pin.name.replaceAll('/', '_'));
  mkdirSync(folder);
  execFileSync('tar', ['-xzf', archive, '-C', folder, '--strip-components=1']);
  return folder;
}

function refresh() {
  const scratch = mkdtempSync(join(tmpdir(), 'vendor-'));
  try {
    for (const pin of packages) {
      const folder = fetch(pin, scratch);
      pin.hashes = {};
      for (const [from, name] of Object.entries(pin.files ?? {})) {
        copyFileSync(join(folder, from), join(here, name));
        pin.hashes[name] = digest(join(here, name));
      }
    }
    writeFileSync(pins, `${JSON.stringify({ packages }, null, 2)}\n`);
  } finally {
    rmSync(scratch, { recursive: true });
  }
}

function check() {
  for (const { name, version, hashes } of packages) {
    for (const [file, pinned] of Object.entries(hashes ?? {})) {
      const found = digest(join(here, file));
      if (found !== pinned) throw new Error(`${file} is not as ${name}@${version} has it: ${found}, not ${pinned}`);
    }
  }
}

function tools(folder) {
  const scratch = mkdtempSync(join(tmpdir(), 'vendor-'));
  try {
    for (const pin of packages) {
      if (!pin.integrity) throw new Error(`vendor.json pins no hash of ${pin.name}; run refresh.mjs first`);
      const place = join(folder, 'node_modules', pin.name);
      const released = fetch(pin, scratch);
      for (const [from, name] of Object.entries(pin.files ?? {})) {
        const found = digest(join(released, from));
        if (found !== pin.hashes[name]) throw new Error(`vendor.json says ${name} is ${pin.hashes[name]}, but it was released as ${found}`);
      }
      rmSync(place, { recursive: true, force: true });
      cpSync(released, place, { recursive: true });
    }
  } finally {
    rmSync(scratch, { recursive: true });
  }
}

if (what === '--check') check();
else if (what === '--tools' && to) tools(to);
else if (what === undefined) refresh();
else throw new Error('refresh.mjs takes nothing, --check, or --tools and a folder');
