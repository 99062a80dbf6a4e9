// An impersonated page recorded in the browser: see recorder_test.go.
import { check, findings, inspect, launch, person } from './browser.mjs';

const at = JSON.parse(process.env.REEVE_E2E_STAGE);
const browser = await launch(process.env.REEVE_TEST_BROWSER);
const api = async (path) => (await fetch(at.api + path, { headers: { Authorization: `Bearer ${at.auditor}` } })).json();
const until = async (what, ok, ms = 45000) => {
  for (const end = Date.now() + ms; Date.now() < end; await new Promise((go) => setTimeout(go, 300))) if (await ok()) return true;
  return check(false, 'recorder', `${what}: not in ${ms} ms`);
};
const state = async () => (await api(`/sessions/${at.session}`)).state;

const actor = await person(browser, 'actor'); // with a cookie, as people have: a page's last words carry no header of a test
await actor.goto(at.signin);
await actor.getByRole('button', { name: 'Sign in' }).click();
await actor.waitForURL((u) => !u.pathname.includes('/signin'));
await actor.context().addCookies([{ name: at.cookie, value: at.token, url: at.app }]);
let sent = [];
actor.on('response', async (r) => { if (r.url().endsWith('/recording/chunks')) sent.push(r.status()); });

await actor.goto(`${at.app}documents/${at.document}`);
await until('the first chunk', () => sent.includes(204));
await actor.fill('#title', 'LEAK-7f3a');
await actor.mouse.move(200, 200);
await actor.mouse.move(300, 260, { steps: 5 });
await actor.evaluate(() => { // what a page's own script does with a value
  const b = document.createElement('b');
  b.dataset.mask = '';
  b.title = b.textContent = 'LEAK-7f3a';
  const hidden = document.createElement('input');
  hidden.type = 'hidden';
  hidden.value = 'LEAK-7f3a';
  document.querySelector('main').append(b, hidden);
  setTimeout(() => { b.firstChild.data = 'LEAK-7f3a again'; hidden.setAttribute('value', 'LEAK-7f3a'); }, 50);
});
const before = sent.length;
await until('what was typed', () => sent.length > before + 1);
await actor.goto(`${at.app}settings`);
if (await actor.locator('#email').count()) await actor.fill('#email', 'leak-7f3a@example.test');
await actor.goto(`${at.app}team`);
await until('the chunk of the last page', () => sent.length > before + 3);
check(sent.every((s) => s === 204), 'recorder', `answers were ${sent}`);
sent = [];

// The way is cut.
actor.allowed = [503];
await actor.route('**/recording/chunks', (r) => r.fulfill({ status: 503 }));
await until('the pause', async () => (await state()) === 'paused');
const refused = await fetch(`${at.app}documents`, { headers: { Authorization: `Bearer ${at.key}`, Cookie: `${at.cookie}=${at.token}` } });
check(refused.status === 503, 'recorder', `a paused session answers ${refused.status}`);
await actor.unroute('**/recording/chunks');
await until('that it goes on', async () => (await state()) === 'active');
await actor.click('.reeve-acting button');
await until('the end', async () => (await state()) === 'ended');

// Somebody else looks at it, without JavaScript.
const auditor = await person(browser, 'auditor', { javaScriptEnabled: false, extraHTTPHeaders: { Authorization: `Bearer ${at.auditor}` } });
await auditor.goto(`${at.console}/sessions/${at.session}`);
await auditor.getByRole('link', { name: 'In the browser' }).click();
check(await auditor.getByText('not proof').count() > 0, 'replay', 'does not say that a browser proves nothing');
check(await auditor.locator('svg.replay-strip').count() === 1, 'replay', 'has no strip');
check(await auditor.locator('tr.gap').count() === 0, 'replay', `the first page has a gap: ${await auditor.locator('tr.gap').allTextContents()}`);
const typed = auditor.getByRole('link', { name: 'Typed or chose, masked' }).first();
await typed.focus();
await auditor.keyboard.press('Enter');
const frame = auditor.frameLocator('iframe');
check(await frame.locator('#title').getAttribute('value') === '•••', 'replay', 'does not show the field as masked');
check(await frame.locator('script').count() === 0, 'replay', 'has a script');
check((await auditor.locator('iframe').getAttribute('sandbox')) === '', 'replay', 'is not sandboxed');
check(!(await auditor.content()).toLowerCase().includes('leak-7f3a'), 'replay', 'shows what was typed');
await auditor.getByRole('link', { name: 'Later' }).click();
await auditor.getByRole('link', { name: '/app/team' }).click();
check(await auditor.locator('tr.gap').getByText('fell silent').count() === 1, 'replay', 'the silence is no gap');
check(await auditor.getByText('Impersonation pause').count() > 0, 'replay', 'has no line of the ledger');

const reader = await person(browser, 'reader', { extraHTTPHeaders: { Authorization: `Bearer ${at.auditor}` } });
await reader.goto(auditor.url());
await inspect(reader, 'the replay of a browser');

await browser.close();
console.log(`${findings.length} findings`);
process.exit(findings.length ? 1 : 0);
