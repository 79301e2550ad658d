// Nightwatch's own generated configuration, with the address of the remote end.
const { hostname, port, pathname } = new URL(process.env.REMOTE);

module.exports = {
  src_folders: ["nightwatch_desk.cjs"],
  output: false,
  test_settings: {
    default: {
      desiredCapabilities: {
        browserName: "chrome",
        "goog:chromeOptions": { w3c: true, args: ["--headless=new", "--no-sandbox", "--ignore-certificate-errors"] },
      },
      selenium: { start_process: false, host: hostname, port: Number(port) },
      webdriver: { start_process: false, host: hostname, port: Number(port), default_path_prefix: pathname },
    },
  },
};
