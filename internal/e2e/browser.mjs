// What every page of the console must hold, looked at in a real browser.
import fs from 'node:fs';
import path from 'node:path';
import { createRequire } from 'node:module';
import { chromium } from 'playwright-core';

const axeSource = fs.readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const shots = process.env.REEVE_TEST_SCREENSHOTS;
if (shots) fs.mkdirSync(shots, { recursive: true });

export const wide = { width: 1440, height: 900 };
export const narrow = { width: 390, height: 844 };

/** Findings are faults; the run goes on, so that one run tells all of them. */
export const findings = [];
export function finding(where, what) {
  findings.push(`${where}: ${what}`);
  console.log(`FINDING ${where}: ${what}`);
}
export function check(ok, where, what) { if (!ok) finding(where, what); return ok; }

export function launch(executablePath) {
  return chromium.launch({ executablePath, args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--disable-sync'] });
}

/** person is a context of its own, whose pages report what goes wrong in them. */
export async function person(browser, name, options = {}) {
  const context = await browser.newContext({ viewport: wide, colorScheme: 'light', reducedMotion: 'reduce', ...options });
  context.setDefaultTimeout(15000);
  const page = await context.newPage();
  page.allowed = []; // statuses that a step expects
  if (options.javaScriptEnabled !== false) {
    await context.addInitScript(() => addEventListener('securitypolicyviolation', (e) =>
      console.error(`policy violation: ${e.violatedDirective} ${e.blockedURI} ${e.sourceFile ?? ''}:${e.lineNumber}`)));
  }
  page.on('console', (m) => {
    if (m.type() === 'error' && !page.allowed.some((s) => m.text().includes(`status of ${s}`))) finding(`${name} ${page.url()}`, `console: ${m.text()}`);
  });
  page.on('pageerror', (e) => finding(`${name} ${page.url()}`, `script: ${e.message}`));
  page.on('response', (r) => {
    if (r.status() >= 400 && !page.allowed.includes(r.status())) finding(`${name} ${r.url()}`, `answered ${r.status()}`);
  });
  page.on('requestfailed', (r) => {
    const why = r.failure()?.errorText ?? '';
    if (!why.includes('ERR_ABORTED')) finding(`${name} ${r.url()}`, `request failed: ${why}`);
  });
  page.on('request', (r) => {
    const u = new URL(r.url());
    if (u.protocol.startsWith('http') && !['127.0.0.1', 'localhost'].includes(u.hostname)) finding(`${name} ${page.url()}`, `asks ${u.host}`);
  });
  return page;
}

async function overflow(page) {
  return page.evaluate(() => {
    const width = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth <= width) return '';
    const clipped = (e) => { for (let p = e.parentElement; p; p = p.parentElement) if (getComputedStyle(p).overflowX !== 'visible') return true; return false; };
    const wide = [...document.querySelectorAll('body *')].filter((e) => e.getBoundingClientRect().right > width + 1 && !clipped(e)).slice(0, 3)
      .map((e) => `${e.tagName.toLowerCase()}.${e.className?.baseVal ?? e.className} to ${Math.round(e.getBoundingClientRect().right)}`);
    return `${document.documentElement.scrollWidth} px of ${width}: ${wide.join('; ')}`;
  });
}

async function axe(page, where) {
  await page.evaluate(axeSource + ';0'); // through the debugger: the page's policy stays as it is
  const bad = await page.evaluate(async () => {
    const r = await window.axe.run(document, { preload: false, resultTypes: ['violations'], iframes: false });
    return r.violations.filter((v) => v.impact === 'serious' || v.impact === 'critical')
      .map((v) => `${v.id} (${v.impact}): ` + v.nodes.slice(0, 3).map((n) => `${n.target.join(' ')} ${n.any[0]?.message ?? n.all[0]?.message ?? n.none[0]?.message ?? ''}`).join(' | '));
  });
  for (const b of bad) finding(where, `axe ${b}`);
}

let pictures = 0;
export async function picture(page, name) {
  if (shots) await page.screenshot({ path: path.join(shots, `${String(++pictures).padStart(3, '0')}-${name.replace(/[^a-z0-9]+/gi, '-').replace(/^-|-$/g, '').slice(0, 70)}.png`) });
}

/** inspect looks at the page that is open: one heading, no overflow, axe in both themes; quick leaves the dark one out. */
export async function inspect(page, where, { quick = false } = {}) {
  const seen = await page.evaluate(() => ({ h1: document.querySelectorAll('h1').length, main: document.querySelectorAll('main').length, title: document.title, lang: document.documentElement.lang }));
  check(seen.h1 === 1 && seen.main === 1 && seen.title && seen.lang, where, `has ${seen.h1} h1, ${seen.main} main, title "${seen.title}"`);
  let over = await overflow(page);
  check(!over, where, `is wider than 1440: ${over}`);
  await axe(page, `${where} (light)`);
  await picture(page, `${where} light`);
  if (!quick) {
    await page.emulateMedia({ colorScheme: 'dark' });
    await axe(page, `${where} (dark)`);
    await picture(page, `${where} dark`);
    await page.emulateMedia({ colorScheme: 'light' });
  }
  await page.setViewportSize(narrow);
  over = await overflow(page);
  check(!over, where, `is wider than 390: ${over}`);
  await picture(page, `${where} narrow`);
  await page.setViewportSize(wide);
}

/** shape replaces what names one thing, so that pages of one kind count as one. */
export function shape(base, href) {
  const u = new URL(href);
  if (!u.href.startsWith(base)) return null;
  const p = u.pathname.slice(new URL(base).pathname.length)
    .replace(/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g, '{id}')
    .replace(/^(\/tenants|\/playbooks|\/policies|\/users|\/runbooks)\/(?!(?:new|runs|exemptions|batches|invite|invitations|keys|instances)(?:\/|$))[^/{]+/, '$1/{name}')
    .replace(/[0-9a-f]{64}/g, '{hash}')
    .replace(/\/\d+(?=\/|$)/g, '/{n}');
  const keys = [...new Set([...u.searchParams.keys()])].sort().join('&');
  return p + (keys ? '?' + keys : '');
}

/** crawl visits every kind of page that links lead to, from the start pages on. */
export async function crawl(page, who, base, starts, { perShape = 1, skip = [] } = {}) {
  const queue = [...starts], counts = new Map(), seen = new Set();
  while (queue.length > 0) {
    const href = queue.shift();
    const kind = shape(base, href);
    const clean = href.split('#')[0];
    if (kind === null || seen.has(clean) || (counts.get(kind) ?? 0) >= perShape || skip.some((s) => s.test(kind))) continue;
    seen.add(clean);
    counts.set(kind, (counts.get(kind) ?? 0) + 1);
    let response;
    try { response = await page.goto(clean, { waitUntil: 'load' }); } catch (e) {
      if (String(e).includes('Download is starting') || String(e).includes('ERR_ABORTED')) continue;
      throw e;
    }
    if (!(response.headers()['content-type'] ?? '').startsWith('text/html')) continue;
    check(response.status() < 400, `${who} ${kind}`, `${clean} answered ${response.status()}`);
    const policy = response.headers()['content-security-policy'] ?? '';
    check(policy.includes("default-src 'none'") && !policy.includes('unsafe-'), `${who} ${kind}`, `policy is ${policy}`);
    await inspect(page, `${who} ${kind}`, { quick: kind.includes('?') });
    queue.push(...await page.evaluate(() => [...document.querySelectorAll('a[href]:not([download])')].map((a) => new URL(a.getAttribute('href'), location.href).href)));
  }
  return [...counts.keys()];
}
