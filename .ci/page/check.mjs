// Looks at pages as a browser shows them. What is wrong with them is printed, and the exit
// status is 1 then. Standard input says what to look at: see order in main.go.
import { readFileSync, mkdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { chromium } from 'playwright-core';

const order = JSON.parse(readFileSync(0, 'utf8'));
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const widths = [390, 1280];
const schemes = ['light', 'dark'];
const narrowest = 320; // nothing may have to be scrolled sideways here (WCAG 1.4.10)

if (order.shots) mkdirSync(order.shots, { recursive: true });
const browser = await chromium.launch({
  executablePath: order.chromium,
  args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});
let looks = 0;
let wrong = 0;
for (const visit of order.visits) {
  for (const width of widths) {
    for (const scheme of schemes) {
      for (const problem of await look(visit, width, scheme)) {
        wrong++;
        console.log(`${visit.name}, ${width} pixels, ${scheme}: ${problem}`);
      }
      looks++;
    }
  }
}
await browser.close();
console.log(`${looks} pages were looked at, and ${wrong} things are wrong`);
process.exit(wrong ? 1 : 0);

// look returns what is wrong with a page.
async function look(visit, width, scheme) {
  const problems = [];
  const context = await browser.newContext({ viewport: { width, height: width < 600 ? 844 : 900 }, colorScheme: scheme });
  try {
    const page = await context.newPage();
    page.setDefaultTimeout(120_000); // the machine may have more to do
    const origin = new URL(visit.url).origin;
    page.on('console', (m) => {
      // A picture by itself can't name an icon, so a browser asks for this one.
      if (!m.location().url.endsWith('/favicon.ico')) problems.push(`the console says: ${m.text()}`);
    });
    page.on('pageerror', (e) => problems.push(`an error: ${e.message}`));
    page.on('requestfailed', (r) => problems.push(`${r.url()} could not be had`));
    page.on('request', (r) => {
      const url = new URL(r.url());
      if (url.protocol !== 'data:' && url.origin !== origin) problems.push(`asks for ${r.url()}`);
    });
    const response = await page.goto(visit.url);
    if (!response.ok()) problems.push(`status ${response.status()}`);
    const html = response.headers()['content-type'].startsWith('text/html');
    if (order.shots) {
      const name = `${order.shots}/${visit.name}-${width}-${scheme}`;
      await page.screenshot({ path: `${name}-top.png` });
      const height = await page.evaluate(() => document.documentElement.scrollHeight);
      if (html && height < 16000) await page.screenshot({ path: `${name}.png`, fullPage: true });
    }
    problems.push(...(await page.evaluate(facts)));
    for (const w of [width, narrowest]) {
      await page.setViewportSize({ width: w, height: 844 });
      const wide = await page.evaluate(() => document.documentElement.scrollWidth);
      if (wide > w) problems.push(`it has to be scrolled sideways: it is ${wide} pixels wide, of ${w}`);
    }
    if (!html) return problems;

    await page.setViewportSize({ width, height: 844 });
    const text = (await page.evaluate(() => document.body.innerText)).replace(/\s+/g, ' ').toLowerCase();
    for (const want of visit.texts ?? []) {
      if (!text.includes(want.toLowerCase())) problems.push(`${JSON.stringify(want)} is not there to read`);
    }
    problems.push(...(await accessibility(page)));
  } finally {
    await context.close();
  }
  return problems;
}

// facts opens what is folded, and returns what a browser knows and axe does not ask for.
function facts() {
  const problems = [];
  if (document.scripts.length) problems.push('there is a script');
  if (document.querySelector('[style]')) problems.push('an element has a style of its own');
  if (document.cookie) problems.push('there is a cookie');
  for (const svg of document.querySelectorAll('.timeline')) {
    const frame = svg.getBoundingClientRect();
    if (!frame.width || !svg.querySelector('rect')) problems.push('a picture is empty');
    const texts = [...svg.querySelectorAll('text')].filter((t) => !t.closest('g')).map((t) => ({ text: t.textContent, box: t.getBoundingClientRect() }));
    for (const [i, a] of texts.entries()) {
      if (a.box.left < frame.left - 1 || a.box.right > frame.right + 1) problems.push(`"${a.text}" leaves its picture`);
      for (const b of texts.slice(i + 1)) {
        const across = Math.min(a.box.right, b.box.right) - Math.max(a.box.left, b.box.left);
        const down = Math.min(a.box.bottom, b.box.bottom) - Math.max(a.box.top, b.box.top);
        if (across > 1 && down > 5) problems.push(`"${a.text}" and "${b.text}" run into each other`);
      }
    }
  }
  for (const details of document.querySelectorAll('details')) details.open = true;
  return problems;
}

// accessibility returns what axe finds: contrast, headings, landmarks, names and so on.
async function accessibility(page) {
  await page.evaluate(axe);
  const found = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
  if (found.passes.length < 10) return ['axe looked at next to nothing'];
  return found.violations.map((v) => `${v.id}: ${v.help}: ${v.nodes.slice(0, 3).map((n) => n.target.join(' ')).join(', ')}`);
}
