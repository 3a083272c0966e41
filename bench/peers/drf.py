"""Django REST framework with djangorestframework-api-key on SQLite, under gunicorn: one worker, as it comes.

POST /v1/verify with `Authorization: Api-Key …`; $PORT, $DATABASE, $KEYS, $KEY_COUNT. Run as a program it issues the
keys and then becomes gunicorn, which finds the application here.
"""
import os
import pathlib

import django
from django.conf import settings

settings.configure(
    SECRET_KEY="only for measuring, and therefore no secret",
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF="drf",
    USE_TZ=True,
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "rest_framework", "rest_framework_api_key"],
    # One persistent connection: by default each request would open the file again.
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["DATABASE"], "CONN_MAX_AGE": None,
                           "OPTIONS": {"init_command": "PRAGMA journal_mode = WAL"}}},
    # Neither sessions nor passwords: only the key is checked. Answers are JSON only.
    REST_FRAMEWORK={"DEFAULT_AUTHENTICATION_CLASSES": [], "UNAUTHENTICATED_USER": None,
                    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"]},
)
django.setup()

# The imports below need the settings.
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.urls import path
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework_api_key.models import APIKey
from rest_framework_api_key.permissions import HasAPIKey


class Verify(APIView):
    permission_classes = [HasAPIKey]

    def post(self, request):
        return Response({
            "valid": True, "code": "VALID", "status": 200, "key_id": "ak_01a1ff9097a67000b93a4e22f290c443",
            "tenant": "default", "subject": "user_0", "name": "production", "scopes": ["invoices:read"],
            "expiration": None})


urlpatterns = [path("v1/verify", Verify.as_view())]
application = get_wsgi_application()


def issue_keys():
    call_command("migrate", verbosity=0)
    keys = [APIKey.objects.create_key(name="production")[1] for _ in range(int(os.environ["KEY_COUNT"]))]
    pathlib.Path(os.environ["KEYS"]).write_text("\n".join(keys) + "\n")


if __name__ == "__main__":
    issue_keys()
    os.execvp("gunicorn", ["gunicorn", "drf:application", "--bind", f"127.0.0.1:{os.environ['PORT']}", "--workers", "1",
                           "--log-level", "error"])
