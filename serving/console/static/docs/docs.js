// Shows the OpenAPI document of this server. The viewer is Swagger UI, in this folder.

const token = () => sessionStorage.getItem("sparing-token") ?? "";
const dark = matchMedia("(prefers-color-scheme: dark)");
const paint = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
paint();
dark.addEventListener("change", paint);

SwaggerUIBundle({
  url: "/openapi.json",
  domNode: document.getElementById("viewer"),
  deepLinking: true,
  validatorUrl: null, // else the viewer would ask a server elsewhere
  defaultModelsExpandDepth: 0,
  showMutatedRequest: false, // else the page would show the token
  requestInterceptor: (request) => {
    if (token() && !request.headers.Authorization) {
      request.headers.Authorization = `Bearer ${token()}`;
    }
    return request;
  },
  responseInterceptor: (response) => {
    if (response.url.endsWith("/openapi.json")) {
      document.getElementById("notice").hidden = response.status !== 401;
    }
    return response;
  },
});
