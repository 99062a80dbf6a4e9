// The three journeys of docs/design.md, every page and every theme, in a browser.
// Run by TestBrowser, which gives REEVE_E2E_READY (the demo's line) and
// REEVE_TEST_BROWSER.
import { crawl } from './browser.mjs';
import { api, check, finding, findings, go, home, inspect, launch, link, person, picture, putPolicy, ready, sees, signIn, submit, vote } from './person.mjs';

const card = (page, title) => page.locator('section.card', { has: page.getByRole('heading', { name: title, exact: true }) });

async function eventually(where, what, ok) {
  for (const end = Date.now() + 20000; Date.now() < end; await new Promise((r) => setTimeout(r, 200))) if (await ok()) return;
  finding(where, `not within 20 s: ${what}`);
}

async function credit(dana, noor) {
  const where = 'a credit over the limit';
  await go(dana, '/tenants?status=active');
  await dana.locator('main table a').nth(3).click();
  await dana.getByRole('link', { name: 'Billing and data' }).click();
  const billing = dana.url();
  const name = await dana.locator('h1').innerText();
  const form = card(dana, 'Give credit');
  await form.getByLabel('Amount').fill('twelve');
  await form.getByLabel('Reason').fill('Outage on Monday');
  dana.allowed = [422];
  await submit(dana, form.getByRole('button'));
  await sees(dana, where, 'There is a problem');
  check(await form.getByLabel('Amount').inputValue() === 'twelve', where, 'what was typed is gone');
  check(await form.getByLabel('Reason').inputValue() === 'Outage on Monday', where, 'the reason that was typed is gone');
  await inspect(dana, `${where}, refused`);
  dana.allowed = [];
  await form.getByLabel('Amount').fill('1500.00');
  await form.getByLabel('Currency').selectOption('EUR');
  await submit(dana, form.getByRole('button'));
  if (!check(/\/approvals\/[0-9a-f-]{36}$/.test(dana.url()), where, `leads to ${dana.url()}`)) return;
  const approval = dana.url();
  check(await dana.getByRole('button', { name: 'Approve' }).isDisabled(), where, 'who asked may press Approve');
  await inspect(dana, `${where}, held`);

  await go(noor, '/approvals');
  await noor.locator('main table a').filter({ hasText: /credit/i }).filter({ hasText: name }).first().click();
  check(noor.url() === approval, where, `the inbox leads to ${noor.url()}`);
  await noor.getByLabel('Comment').fill('Agreed with finance');
  await inspect(noor, `${where}, to decide`);
  await submit(noor, noor.getByRole('button', { name: 'Approve' }));
  await sees(noor, where, 'Executed');
  await dana.goto(approval);
  await sees(dana, where, 'Agreed with finance');
  await sees(dana, where, 'Noor Haddad');
  check(await dana.getByRole('button', { name: 'Approve' }).count() === 0, where, 'a decided approval still has buttons');
  await dana.goto(billing);
  await sees(dana, where, '€1,500.00');
}

async function downgrade(dana) {
  const where = 'a tenant is downgraded';
  await go(dana, '/tenants?status=active&plan=business');
  await dana.locator('main table a').first().click();
  const tenant = dana.url();
  const id = decodeURIComponent(tenant.split('/').pop());
  await dana.getByRole('link', { name: 'Billing and data' }).click();
  const form = card(dana, 'Change plan');
  await form.getByLabel('New plan').selectOption('starter');
  await form.getByLabel('Reason').fill('Half of their sites closed');
  await submit(dana, form.getByRole('button'));
  if (dana.url().includes('/approvals/')) {
    await inspect(dana, `${where}, held`);
    await vote('gov_approver', dana.url().split('/').pop());
    await dana.reload();
    await sees(dana, where, 'Executed');
  }
  await eventually(where, 'every connector was told', async () => {
    const { items } = await api('cs_agent', 'GET', `/integrations/deliveries?limit=100&tenant=${id}`);
    const told = items.filter((d) => d.type === 'tenant.plan_changed');
    return told.length >= 4 && items.every((d) => !['pending', 'dead'].includes(d.state));
  });
  await dana.goto(tenant);
  await sees(dana, where, /plan/i);
  check((await dana.locator('main').innerText()).toLowerCase().includes('starter'), where, 'the tenant does not show its plan');
  await inspect(dana, `${where}, its timeline`);
  await go(dana, `/deliveries?tenant=${encodeURIComponent(id)}`);
}

async function purge(dana, noor) {
  const where = 'a purge';
  await go(dana, '/retention');
  const { items } = await api('super_admin', 'GET', '/retention/plans');
  const plan = items.find((p) => p.approval && !p.run);
  if (!check(plan, where, 'no plan waits')) return;
  await go(dana, `/retention/plans/${plan.id}`);
  await dana.getByRole('link', { name: 'See the approval' }).click();
  const approval = dana.url();
  await noor.goto(approval);
  await noor.getByLabel('Comment').fill('The figures are right');
  await submit(noor, noor.getByRole('button', { name: 'Approve' }));
  await eventually(where, 'it has run', async () => (await api('super_admin', 'GET', `/approvals/${plan.approval}`)).state === 'executed');
  await go(dana, `/retention/plans/${plan.id}`);
  await dana.getByRole('link', { name: 'See the run' }).click();
  await inspect(dana, `${where}, its run`);
  await dana.locator('main').getByRole('link', { name: /evidence/i }).first().click();
  await sees(dana, where, 'The figures are right');
  await inspect(dana, `${where}, its evidence`);
}

async function revenue(dana, felix) {
  const where = 'revenue';
  for (const page of [dana, felix]) {
    await go(page, '/revenue');
    await sees(page, where, /data through/i);
  }
  const pages = await felix.locator('nav.side a').allInnerTexts();
  check(pages.length > 1 && pages.every((p) => /home|revenue|account|security keys/i.test(p)), where, `a finance viewer sees ${pages.join(', ')}`);
  felix.allowed = [403];
  for (const path of ['/tenants', '/ledger', '/approvals', '/users']) {
    const r = await go(felix, path);
    check(r.status() === 403, where, `a finance viewer gets ${r.status()} at ${path}`);
  }
  await inspect(felix, 'no permission');
  felix.allowed = [];
  await go(felix, '/revenue/rollforward');
  await felix.locator('main table a[href*="drill"]').last().click();
  await inspect(felix, `${where}, a number`);
  await felix.locator('main table a[href*="tenant="]').first().click();
  await inspect(felix, `${where}, of one tenant`);
  await felix.locator('main a[href*="/facts"]').first().click();
  await sees(felix, where, /facts/i);
}

async function playbook(dana) {
  const where = 'a playbook';
  const { items } = await api('super_admin', 'GET', '/playbook-runs?mode=live&state=succeeded&limit=50');
  await go(dana, `/playbooks/runs/${items[0].id}`);
  const form = card(dana, 'Step in');
  await form.getByLabel(/reason|why/i).fill('They told us that they are on holiday');
  await submit(dana, form.getByRole('button', { name: 'Roll back' }));
  await eventually(where, 'the run is rolled back', async () => (await api('super_admin', 'GET', `/playbook-runs/${items[0].id}`)).state === 'rolled_back');
  await dana.reload();
  await sees(dana, where, /rolled back/i);
  await inspect(dana, `${where}, rolled back`);
}

async function impersonate(dana) {
  const where = 'impersonation';
  await go(dana, '/tenants?status=active');
  await dana.locator('main table a').nth(7).click();
  const href = await dana.locator('a[href*="/sessions/new?tenant="]').first().getAttribute('href');
  await dana.goto(new URL(href, home).href);
  const user = dana.getByLabel('User', { exact: true });
  if (await user.evaluate((e) => e.tagName) === 'SELECT') await user.selectOption({ index: 1 });
  await dana.getByLabel('Reason').fill('Cannot find an invoice');
  await inspect(dana, `${where}, to start`);
  await submit(dana, dana.getByRole('button', { name: 'Start session' }));
  if (!check(dana.url().includes('/app/'), where, `opening leads to ${dana.url()}`)) return;
  await sees(dana, where, /works as/);
  await inspect(dana, `${where}, in the product`);
  await dana.getByRole('link', { name: 'Documents', exact: true }).click();
  await submit(dana, dana.getByRole('button', { name: 'End' }));
  if (!check(!dana.url().includes('/app/'), where, `ending leads to ${dana.url()}`)) return;
  await go(dana, '/sessions');
  await dana.locator('main table tr', { hasText: 'Cannot find an invoice' }).locator('a').first().click();
  await dana.locator('main table a[href*="frame="]').first().click();
  await sees(dana.frameLocator('iframe').first(), where, 'Paperwork');
}

/** A session that has to be watched: one waits, another watches and ends it, a third reviews it, and the customer reads of it. */
async function watched(browser, dana, noor, url) {
  const where = 'a watched session';
  const cleo = await person(browser, 'cleo');
  await signIn(cleo, url, 'Cleo');
  const guest = await person(browser, 'customer');
  await guest.goto(ready.customer_url);
  await guest.getByRole('button', { name: 'Sign in' }).click();
  await guest.getByRole('link', { name: 'Staff access' }).waitFor();
  await inspect(guest, `${where}, the customer's dashboard`);
  const user = decodeURIComponent(atob(new URL(ready.customer_url).pathname.split('/').pop().split('.')[0].replaceAll('-', '+').replaceAll('_', '/')));
  await go(dana, `/sessions/new?tenant=${encodeURIComponent(user.replace(/-u\d+$/, ''))}`);
  await dana.getByLabel('User', { exact: true }).selectOption(user);
  await dana.getByLabel('Reach').selectOption('write');
  await dana.getByLabel('Reason').fill('Their invoices look wrong');
  await dana.getByLabel('Somebody has to watch').check();
  await submit(dana, dana.getByRole('button', { name: 'Start session' }));
  await sees(dana, where, 'waits for somebody to watch');
  const session = new URL(dana.url()).pathname.split('/').pop();
  await inspect(dana, `${where}, waiting`);
  dana.allowed = [503, 403];
  await dana.goto(new URL('/app/', home).href);
  await sees(dana, where, 'somebody has to watch, and nobody does');
  await inspect(dana, `${where}, paused in the product`, { quick: true });

  await go(cleo, '/sessions');
  await cleo.getByRole('link', { name: 'Live wall' }).click();
  await sees(cleo, where, 'somebody has to');
  await inspect(cleo, `${where}, the wall`);
  await cleo.getByRole('link', { name: 'Watch' }).first().click();
  await submit(cleo, cleo.getByRole('button', { name: 'Start to watch' }));
  await sees(cleo, where, 'You are watching');

  await dana.goto(new URL('/app/', home).href);
  await sees(dana, where, /works as/);
  await sees(dana, where, /\d+:\d\d left/);
  await dana.getByRole('link', { name: 'Invoices', exact: true }).click();
  await inspect(dana, `${where}, invoices`);
  await dana.getByRole('link', { name: 'Settings', exact: true }).click();
  await inspect(dana, `${where}, settings`);
  await dana.getByLabel('Account holder').fill('Somebody else');
  await dana.getByLabel('IBAN').fill('DE89 3704 0044 0532 0130 00');
  await submit(dana, dana.getByRole('button', { name: 'Change account' }));
  await sees(dana, where, 'out of reach while impersonating');
  await inspect(dana, `${where}, refused`, { quick: true });
  await sees(cleo.frameLocator('iframe').first(), where, 'Payouts');
  check(await cleo.frameLocator('iframe').first().locator('script').count() === 0, where, 'what is shown to the observer has a script');
  check(!(await cleo.frameLocator('iframe').first().locator('body').innerHTML()).includes('@'), where, 'what is shown to the observer has an e-mail address');
  await inspect(cleo, `${where}, watching`);
  await cleo.getByLabel('Why it ends').fill('They tried to change the account');
  await submit(cleo, cleo.getByRole('button', { name: 'End session' }));
  await dana.goto(new URL('/app/settings', home).href);
  check(dana.url().includes('/console/sessions'), where, `the next request leads to ${dana.url()}`);
  dana.allowed = [];

  await go(noor, '/sessions');
  await noor.getByRole('link', { name: /Reviews due/ }).click();
  await inspect(noor, `${where}, reviews due`);
  await noor.locator(`main table a[href*="${session}"]`).click();
  await inspect(noor, `${where}, its replay`);
  await noor.getByLabel('What you found').selectOption('violation');
  await noor.getByLabel('Note').fill('The account was none of the ticket');
  await submit(noor, noor.getByRole('button', { name: 'Record the review' }));
  await sees(noor, where, 'The review is recorded');

  for (const name of ['Invoices', 'Settings', 'Staff access']) {
    await guest.getByRole('link', { name, exact: true }).click();
    await inspect(guest, `${where}, the customer's ${name}`);
  }
  await sees(guest, where, 'Their invoices look wrong');
  await guest.locator('main table a').first().click();
  await sees(guest, where, 'tried and refused');
  await sees(guest, where, 'violation');
  await inspect(guest, `${where}, one entry of the customer's log`);
  await guest.context().close();
  await cleo.context().close();
}

/** A refund over the limit is asked for and approved; a feature is given by hand, reviewed by another person and taken back. */
async function refund(dana, noor) {
  const where = 'a refund over the limit';
  await putPolicy({ id: 'grants-reviewed', title: 'Features given by hand are looked at', actions: ['tenant.entitlement.grant'], mode: 'enforce', review_after: '24h' }, 'gov_approver');
  await go(dana, '/tenants?status=active&plan=enterprise');
  await dana.locator('main table a').first().click();
  await dana.getByRole('link', { name: 'Billing and data' }).click();
  const billing = dana.url();
  const form = card(dana, 'Refund');
  await form.getByLabel('Amount to refund').fill('99999999.00');
  await form.getByLabel('Reason').fill('They were charged twice');
  dana.allowed = [422];
  await submit(dana, form.getByRole('button'));
  await sees(dana, where, 'There is a problem');
  check(await form.getByLabel('Amount to refund').getAttribute('aria-invalid') === 'true', where, 'the amount is not marked as wrong');
  check(await form.getByLabel('Reason').inputValue() === 'They were charged twice', where, 'the reason that was typed is gone');
  await inspect(dana, `${where}, refused`);
  dana.allowed = [];
  await form.getByLabel('Amount to refund').fill('1234.56');
  await submit(dana, form.getByRole('button'));
  if (!check(/\/approvals\/[0-9a-f-]{36}$/.test(dana.url()), where, `leads to ${dana.url()}`)) return;
  check(await dana.getByRole('button', { name: 'Approve' }).isDisabled(), where, 'who asked may press Approve');
  await inspect(dana, `${where}, held`);
  await noor.goto(dana.url());
  await noor.getByLabel('Comment').fill('Their bank statement shows it');
  await submit(noor, noor.getByRole('button', { name: 'Approve' }));
  if (await noor.getByText('More are needed').count()) await vote('gov_approver_2', noor.url().split('/').pop()); // each policy that holds it wants a person of its own
  await noor.reload();
  await sees(noor, where, 'Executed');
  await dana.goto(billing);
  check(/1,234\.56/.test(await card(dana, 'Refunds').innerText()), where, 'the refund does not stand on the tenant');
  await inspect(dana, `${where}, on the tenant`);

  await go(dana, '/tenants?status=active&plan=starter');
  await dana.locator('main table a').last().click();
  await dana.getByRole('link', { name: 'Billing and data' }).click();
  const give = card(dana, 'Give a feature');
  await give.getByLabel('For how many days').fill('7');
  await give.getByLabel('Reason').fill('They try it for a week');
  await submit(dana, give.getByRole('button'));
  await sees(dana, where, 'The feature was given.');
  await inspect(dana, 'a feature given by hand');
  await go(noor, '/reviews');
  await inspect(noor, 'reviews that are due');
  await noor.locator('main table a').first().click();
  check((await noor.locator('main').innerText()).includes('They try it for a week'), 'a review', 'does not say why it was done');
  await inspect(noor, 'a review');
  await noor.getByLabel('What you found').fill('It ends by itself');
  await submit(noor, noor.getByRole('button', { name: 'It was right' }));
  await sees(noor, 'a review', 'Accepted.');
  const take = card(dana, 'Take a feature back');
  await take.getByLabel('Reason').fill('They do not need it');
  await submit(dana, take.getByRole('button'));
  await sees(dana, where, 'The feature was taken back.');
}

/** A policy is edited, back-tested and put into force; under it a customer is asked in the product, and consents. */
async function consent(browser, dana, noor) {
  let where = 'a policy that is back-tested';
  const guest = await person(browser, 'customer');
  await guest.goto(ready.customer_url);
  await guest.getByRole('button', { name: 'Sign in' }).click();
  await guest.getByRole('link', { name: 'Requests' }).click();
  await sees(guest, 'a consent', 'Nothing waits for your consent.');
  await inspect(guest, 'a consent, nobody asks');
  const user = decodeURIComponent(atob(new URL(ready.customer_url).pathname.split('/').pop().split('.')[0].replaceAll('-', '+').replaceAll('_', '/')));
  const tenant = user.replace(/-u\d+$/, '');

  await go(dana, '/policies/impersonation-consent');
  await dana.getByRole('link', { name: 'Edit' }).click();
  const text = await dana.getByLabel('Document').inputValue();
  const draft = JSON.stringify({ ...JSON.parse(text), match: `tenant.id == "${tenant}" && action.input.scope == "write"` }, null, 2);
  await dana.getByLabel('Document').fill('{"id":');
  dana.allowed = [422];
  await submit(dana, dana.getByRole('button', { name: 'Back-test it first' }));
  await sees(dana, where, 'There is a problem');
  await inspect(dana, `${where}, refused`);
  dana.allowed = [];
  await dana.getByLabel('Document').fill(draft);
  await submit(dana, dana.getByRole('button', { name: 'Back-test it first' }));
  if (!check(dana.url().includes('/back-tests/'), where, `leads to ${dana.url()}`)) return;
  await inspect(dana, `${where}, its report`);
  await dana.getByRole('link', { name: 'Back to the editor' }).click();
  check((await dana.getByLabel('Document').inputValue()).includes(tenant), where, 'the draft is gone in the editor');
  await dana.goBack();
  await dana.getByLabel('Why it changes').fill('They want to be asked');
  await submit(dana, dana.getByRole('button', { name: 'Propose it with this report' }));
  if (!check(dana.url().includes('/approvals/'), where, `proposing leads to ${dana.url()}`)) return;
  await inspect(dana, `${where}, held`);
  await vote('gov_approver', dana.url().split('/').pop());
  await go(dana, '/policies/impersonation-consent');
  await sees(dana, where, 'Version 2');
  await inspect(dana, `${where}, in force`);

  where = 'a consent';
  await go(dana, `/sessions/new?tenant=${encodeURIComponent(tenant)}`);
  await dana.getByLabel('User', { exact: true }).selectOption(user);
  await dana.getByLabel('Reach').selectOption('write');
  await dana.getByLabel('Reason').fill('Set their approval chain up with them');
  await submit(dana, dana.getByRole('button', { name: 'Start session' }));
  if (!check(dana.url().includes('/approvals/'), where, `starting leads to ${dana.url()}`)) return;
  const approval = dana.url();
  await sees(dana, where, 'needed of the tenant itself');
  await inspect(dana, `${where}, asked for`);
  await noor.goto(approval);
  check(await noor.getByRole('button', { name: 'Approve' }).isDisabled(), where, 'an approver of ours may consent for them');
  await guest.reload();
  await sees(guest, where, 'Set their approval chain up with them');
  await inspect(guest, `${where}, in the product`);
  await guest.getByLabel('A word to it').fill('On Monday, please');
  await submit(guest, guest.getByRole('button', { name: 'Consent' }));
  await sees(guest, where, 'Your answer was recorded.');
  await inspect(guest, `${where}, answered`);
  await dana.goto(approval);
  await sees(dana, where, 'On Monday, please');
  await sees(dana, where, 'Executed');
  await inspect(dana, `${where}, given`);
  await guest.context().close();
}

/** The pages behind the ledger, and a verification that is started and read without a script. */
async function ledger(browser, dana) {
  const where = 'a verification of the ledger';
  await go(dana, '/ledger');
  await dana.getByRole('link', { name: 'Integrity' }).click();
  await sees(dana, where, 'It was not verified from here yet');
  check(await dana.locator('nav.side a[aria-current="page"]').innerText() === 'Ledger', where, 'the navigation does not say where one is');
  await inspect(dana, `${where}, none yet`);
  const plain = await person(browser, 'dana without a script', { javaScriptEnabled: false, storageState: await dana.context().storageState() });
  await go(plain, '/integrity');
  await submit(plain, plain.getByRole('button', { name: 'Verify now' }));
  const asked = plain.url();
  check(/\/integrity\/checks\/[0-9a-f-]{36}$/.test(asked), where, `asking leads to ${asked}`);
  await eventually(where, 'it ends', async () => {
    if (await plain.getByText('Everything stored is as it was signed').count()) return true;
    await plain.getByRole('link', { name: 'Reload' }).click();
    return false;
  });
  await dana.goto(asked);
  await inspect(dana, `${where}, read`);
  await go(dana, '/integrity');
  await inspect(dana, `${where}, in the list`);
  await go(dana, '/integrity/export');
  const since = card(dana, 'What it grew by');
  await since.getByLabel('After how many records').fill('99999999');
  dana.allowed = [422];
  await submit(dana, since.getByRole('button'));
  await sees(dana, where, 'is more than the ledger has sealed');
  check(await card(dana, 'The whole log').getByLabel(/witnesses/).inputValue() === '0', where, 'the other forms are empty');
  await inspect(dana, 'an export of the ledger, refused');
  dana.allowed = [];
  const [file] = await Promise.all([dana.waitForEvent('download'), card(dana, 'The whole log').getByRole('button').click()]);
  check(/\.zip$/.test(file.suggestedFilename()), where, `the export is called ${file.suggestedFilename()}`);
  for (const path of ['/catalogue', '/passkeys', '/reviews', '/delegations', '/integrity', '/integrity/export', '/integrity/subjects', '/integrity/erase?subject=person:dana', '/policies/credit-24h/edit']) {
    const r = await go(plain, path);
    check(r.status() === 200 && await plain.locator('h1').count() === 1, 'without JavaScript', `${path} answers ${r.status()}`);
  }
  await plain.context().close();
}

async function withoutScript(browser, url) {
  const where = 'without JavaScript';
  const cleo = await person(browser, 'cleo', { javaScriptEnabled: false });
  await signIn(cleo, url, 'Cleo');
  for (const name of ['Approvals', 'Tenants', 'Playbooks', 'Alerts']) {
    await cleo.locator('nav.side').getByRole('link', { name }).first().click();
    check((await cleo.locator('h1').innerText()).includes(name), where, `${name} leads to ${cleo.url()}`);
  }
  await cleo.goto(home + '/tenants?status=active');
  await cleo.locator('main table a').nth(11).click();
  await cleo.getByRole('link', { name: 'Billing and data' }).click();
  const form = card(cleo, 'Give credit');
  await form.getByLabel('Amount').fill('5.00');
  await form.getByLabel('Currency').selectOption('EUR');
  await form.getByLabel('Reason').fill('Outage on Monday');
  await submit(cleo, form.getByRole('button'));
  await sees(cleo, where, 'The credit was given.');
  await sees(cleo, where, '€5.00');
  await cleo.locator('details.menu summary').click();
  await submit(cleo, cleo.getByRole('button', { name: 'Dark' }));
  check(await cleo.locator('html').getAttribute('data-theme') === 'dark', where, 'the dark theme is not chosen');
  await cleo.setViewportSize({ width: 390, height: 844 });
  await cleo.locator('details.nav-toggle summary').click();
  await cleo.locator('nav.nav-sheet').getByRole('link', { name: 'Tenants' }).click();
  check((await cleo.locator('h1').innerText()).includes('Tenants'), where, `the small navigation leads to ${cleo.url()}`);
  await cleo.locator('details.menu summary').click();
  await submit(cleo, cleo.getByRole('button', { name: 'Sign out' }));
  check(cleo.url().includes('/signin'), where, `signing out leads to ${cleo.url()}`);
  await cleo.goto(home + '/tenants');
  check(cleo.url().includes('/signin'), where, `nobody is sent to sign in but to ${cleo.url()}`);
  await cleo.context().close();
}

/** The checks are worth something only if they find what is wrong. */
async function selfTest(browser) {
  const page = await person(browser, 'self-test');
  await page.route('http://127.0.0.1:9/', (r) => r.fulfill({ contentType: 'text/html', headers: { 'content-security-policy': "default-src 'none'" },
    body: '<html><title>x</title><h1 style="color:red">a</h1><input><p><img src="http://127.0.0.1:9/x.png"></p><pre>' + 'w'.repeat(2000) + '</pre></html>' }));
  await page.goto('http://127.0.0.1:9/');
  await inspect(page, 'self-test');
  const found = findings.splice(0).join('\n');
  console.log('(those of the self-test are meant to be there)');
  for (const want of ['has 1 h1, 0 main', 'wider than 1440', 'wider than 390', 'axe label', 'axe image-alt', 'axe html-has-lang', 'console: ', 'policy violation: style-src']) check(found.includes(want), 'self-test', `nothing found "${want}"`);
  await page.context().close();
}

const browser = await launch(process.env.REEVE_TEST_BROWSER);
const steps = [];
const step = async (name, fn) => {
  const began = Date.now();
  try { steps.push([name, await fn()]); } catch (e) { finding(name, String(e.stack ?? e).split('\n').slice(0, 12).join('\n  ')); }
  console.log(`${name}: ${((Date.now() - began) / 1000).toFixed(1)} s`);
};
try {
  await step('self-test', () => selfTest(browser));
  const dana = await person(browser, 'dana'), noor = await person(browser, 'noor'), felix = await person(browser, 'felix');
  await step('sign-in', async () => {
    await dana.goto(ready.sign_in_url);
    await inspect(dana, 'sign-in link');
    await signIn(dana, ready.sign_in_url, 'Dana');
    await signIn(noor, await link('noor', 'gov_approver_2'), 'Noor');
    await signIn(felix, await link('felix', 'gov_approver'), 'Felix');
  });
  await step('credit', () => credit(dana, noor));
  await step('downgrade', () => downgrade(dana));
  await step('purge', () => purge(dana, noor));
  await step('revenue', () => revenue(dana, felix));
  await step('playbook', () => playbook(dana));
  await step('impersonation', () => impersonate(dana));
  await step('watched session', async () => watched(browser, dana, noor, await link('cleo', 'gov_approver_2')));
  await step('refund', () => refund(dana, noor));
  await step('consent', () => consent(browser, dana, noor));
  await step('ledger', () => ledger(browser, dana));
  await step('no script', async () => withoutScript(browser, await link('cleo', 'gov_approver')));
  await step('used link', async () => {
    const guest = await person(browser, 'guest');
    guest.allowed = [404, 410];
    await guest.goto(ready.sign_in_url);
    await inspect(guest, 'used sign-in link');
    await guest.goto(home + '/signin');
    await inspect(guest, 'sign-in');
    guest.allowed = [];
    await guest.goto(ready.api_url.replace(/\/v1$/, '/docs'));
    await inspect(guest, 'API reference', { quick: true });
    await guest.context().close();
  });
  let kinds = [];
  await step('every page', async () => { kinds = await crawl(dana, 'dana', home, [home + '/', home + '/me', home + '/search?q=alder', home + '/tenants?q=nobody-of-that-name'], { skip: [/_stories/, /signout/] }); });
  const nav = await dana.locator('nav.side a').evaluateAll((as) => as.map((a) => new URL(a.href).pathname));
  for (const path of nav) check(kinds.some((k) => path.endsWith(k)), 'navigation', `${path} was not visited`);
  for (const kind of ['/approvals/{id}', '/tenants/{name}', '/sessions/{id}', '/ledger/{id}', '/retention/plans/{id}', '/retention/runs/{id}', '/retention/runs/{id}/evidence', '/retention/holds/{id}',
    '/playbooks/{name}', '/playbooks/runs/{id}', '/runbooks/{id}', '/deliveries/{id}', '/targets/{id}', '/policies/{name}', '/users/{name}', '/revenue/refreshes/{n}',
    '/catalogue', '/reviews', '/reviews/{id}', '/delegations', '/passkeys', '/tenants/{name}/billing', '/policies/{name}/edit', '/integrity', '/integrity/export', '/integrity/subjects', '/integrity/erase?subject', '/integrity/checks/{id}'])
    check(kinds.includes(kind), 'pages', `no link leads to a page such as ${kind}`);
  console.log(`${kinds.length} kinds of page, ${nav.length} in the navigation`);
  await step('home of an approver', async () => { await go(noor, '/'); await inspect(noor, 'home of an approver'); });
} finally {
  await browser.close();
}
if (findings.length > 0) {
  console.log(`${findings.length} findings`);
  process.exit(1);
}
