"""Signup over JSON."""

import json

from django import forms
from django.contrib.auth.password_validation import validate_password
from django.db import IntegrityError, transaction
from django.http import HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from .models import User


class Signup(forms.Form):
    """Checks what the service checks: a name, an address, and the strength of the password."""

    name = forms.CharField(max_length=150)
    email = forms.EmailField(max_length=150)
    password = forms.CharField(strip=False)

    def clean(self) -> dict[str, str]:
        """Validates the password; the validators compare it with the user's other fields."""
        values = super().clean() or self.cleaned_data
        if not self.errors:
            email, name = values["email"], values["name"]
            user = User(username=email, email=email, first_name=name)
            try:
                validate_password(values["password"], user)
            except forms.ValidationError as error:
                self.add_error("password", error)
        return values


@csrf_exempt  # There is no session that another site could use.
@require_POST
def signup(request: HttpRequest) -> JsonResponse:
    """Creates an account in one transaction."""
    try:
        form = Signup(json.loads(request.body))
    except ValueError:
        return JsonResponse({"error": "malformed"}, status=400)
    if not form.is_valid():
        return JsonResponse({"errors": form.errors}, status=422)
    values = form.cleaned_data
    try:
        with transaction.atomic():
            user = User.objects.create_user(
                username=values["email"],
                email=values["email"],
                password=values["password"],
                first_name=values["name"],
            )
    except IntegrityError:
        return JsonResponse({"error": "the address has an account"}, status=409)
    return JsonResponse({"id": user.pk, "name": user.first_name, "email": user.email}, status=201)
