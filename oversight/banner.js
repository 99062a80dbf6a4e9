// Counts the impersonation banner down, and loads the page anew when the time is up: the
// server then says that the session is over. The banner stands without it as well.
const banner = document.querySelector("[data-reeve-until]");
if (banner) {
  // The server's clock counts: what is left was true when the page was made.
  const left = Number(banner.dataset.reeveLeft) * 1000, began = performance.now(), text = banner.querySelector("[data-reeve-left]");
  const tick = () => {
    const ms = left - (performance.now() - began);
    if (ms <= 0) return location.reload();
    const s = Math.floor(ms / 1000);
    text.textContent = Math.floor(s / 60) + ":" + String(s % 60).padStart(2, "0") + " left";
    setTimeout(tick, 1000 - (Math.floor(performance.now() - began) % 1000));
  };
  tick();
}
